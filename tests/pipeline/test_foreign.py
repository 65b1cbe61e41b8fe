import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alexkit.pipeline import CentreCrop, Loader, adopt_webdataset


def png(number: int, side: int = 32) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), number, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Two tars of five samples, members in another order than ours, a folder in the keys, extras in some samples."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    for shard in range(2):
        members = {}
        for i in range(5 * shard, 5 * shard + 5):
            members[f"some.folder/{i:03d}.cls"] = str(i % 3).encode()
            if i % 2:
                members[f"some.folder/{i:03d}.json"] = json.dumps({"i": i}).encode()
            members[f"some.folder/{i:03d}.png"] = png(10 * i)
            members[f"some.folder/{i:03d}.txt"] = b"x" * (600 * i)
        write_tar(folder / f"data-{shard}.tar", members)
    return folder


def test_a_foreign_set_loads_like_ours(foreign: Path, tmp_path: Path) -> None:
    adopted = adopt_webdataset(foreign, tmp_path / "cache")
    with Loader(adopted, batch_size=4, augment=CentreCrop(crop=32, mean="none"), extras=("json", "txt")) as loader:
        assert loader.num_samples == 10 and loader.num_classes == 3
        for batch in loader:
            for row in range(4):
                index = int(batch.indices[row])
                assert (batch.images[row] == 10 * index).all()
                assert int(batch.labels[row]) == index % 3
                assert batch.keys[row] == f"some.folder/{index:03d}"
                assert batch.extras["json"][row] == (json.dumps({"i": index}).encode() if index % 2 else None)
                assert batch.extras["txt"][row] == b"x" * (600 * index)
    assert adopted.joinpath("statistics.npz").exists()


def test_an_adopted_set_is_made_once(foreign: Path, tmp_path: Path) -> None:
    adopted = adopt_webdataset(foreign, tmp_path / "cache")
    before = (adopted / "manifest.json").stat().st_mtime_ns
    assert adopt_webdataset(foreign, tmp_path / "cache") == adopted
    assert (adopted / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "holds no jpg, jpeg or png"),
        ({"a.png": png(1)}, r"sample 'a' has the members png; expected one png image and one cls"),
        ({"a.png": png(1), "a.cls": b"cat"}, r"a\.cls holds b'cat', expected only the class index"),
        ({"a.png": png(1), "a.cls": b"1", "b.png": png(1, 40), "b.cls": b"1"}, "b.png is 40x40 px, expected 32x32"),
        ({"a.png": png(1), "a.cls": b"1", "b.png": b"no", "b.cls": b"1"}, "b.png does not decode"),
        ({"a b.png": png(1), "a b.cls": b"1"}, "is not KEY.EXTENSION"),
    ],
)
def test_what_is_not_a_set_of_labelled_images_is_refused(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    write_tar(tmp_path / "x.tar", members)
    with pytest.raises(ValueError, match=message):
        adopt_webdataset(tmp_path, tmp_path / "cache")
    assert not (tmp_path / "cache" / "manifest.json").exists()


def test_extras_of_our_own_sets_are_none(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=CentreCrop(crop=56), extras=("json", "cls")) as loader:
        batch = next(iter(loader))
    assert batch.extras["json"] == [None] * 8
    assert batch.extras["cls"] == [b"%d" % label for label in batch.labels.tolist()]


def test_own_operators_come_after_the_built_in_ones(draw_shards: Any) -> None:
    for augment in (CentreCrop(crop=56), CentreCrop(crop=56, mean="crop"), CentreCrop(crop=56, mean="none")):
        with (
            Loader(draw_shards(), batch_size=8, augment=augment) as plain,
            Loader(draw_shards(), batch_size=8, augment=augment, operators=lambda x: -2.0 * x + 1.0) as changed,
        ):
            for a, b in zip(plain, changed, strict=True):
                assert torch.allclose(b.images, -2 * a.images + 1, atol=1e-3)


def test_numpy_takes_batches_without_a_copy(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=CentreCrop(crop=56)) as loader:
        batch = next(iter(loader))
    array = np.from_dlpack(batch.images)
    assert array.ctypes.data == batch.images.data_ptr() and array.shape == (8, 3, 56, 56)
