import errno
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from alexkit.errors import InputError
from alexkit.pipeline import CenterCrop, Loader
from alexkit.prep import PixelOptions, ShardSet
from alexkit.prep.build.adopt import adopt_webdataset
from alexkit.prep.build.integrity.verify import verify_set
from alexkit.prep.build.integrity.verify_shard import Finding
from alexkit.prep.format.shard import read_index

from ...conftest import draw_image, encode


def png(number: int, side: int = 32) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), number, np.uint8)).save(file, "PNG")
    return file.getvalue()


def jpeg(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), number, np.uint8)).save(file, "JPEG", quality=100)
    return file.getvalue()


GOOD = {"a.png": png(1), "a.cls": b"1"}


def write_tar(path: Path, members: dict[str, bytes], tar_format: int = tarfile.PAX_FORMAT) -> None:
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Two tars of five samples, members in another order than ours, a folder in the keys, extras in some samples."""
    folder = tmp_path / "elsewhere"
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


def test_a_set_made_elsewhere_loads_like_ours(elsewhere: Path, tmp_path: Path) -> None:
    adopted = adopt_webdataset(elsewhere, tmp_path / "cache")
    with Loader(adopted, batch_size=4, augment=CenterCrop(crop=32, mean="none"), extras=("json", "txt")) as loader:
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


def test_an_adopted_set_is_made_once(elsewhere: Path, tmp_path: Path) -> None:
    adopted = adopt_webdataset(elsewhere, tmp_path / "cache")
    before = (adopted / "manifest.json").stat().st_mtime_ns
    assert adopt_webdataset(elsewhere, tmp_path / "cache") == adopted
    assert (adopted / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "contains no samples"),
        ({"a.png": png(1)}, r"sample 'a' has the members png; expected one image \(.*\) and a label"),
        ({**GOOD, "b.png": png(1)}, r"sample 'b' has the members png; expected one image \(png\) and a label"),
        ({**GOOD, "b.jpg": png(1), "b.cls": b"1"}, r"sample 'b' has the members cls, jpg; expected one image \(png\)"),
        ({**GOOD, "b.png": png(1), "b.cls": b"cat"}, "sample 'b': label 'cat', a name among numbers such as 1; write"),
        (
            {**GOOD, "b.png": png(1), "b.json": b'{"label": 1}'},
            "sample 'b' is labeled by its json member, but 'a' is not; label",
        ),
        ({**GOOD, "b.png": png(1), "b.json": b'{"id": 1}'}, r"no label in its .json, which has the keys id"),
        ({**GOOD, "b.png": png(1), "b.cls": b"999999999"}, "sample 'b': label 999999999; expected a class index"),
        ({**GOOD, "b.png": png(1, 40), "b.cls": b"1"}, "sample 'b': 40 x 40 pixels, expected 32 square; remove it"),
        ({**GOOD, "b.png": b"no", "b.cls": b"1"}, "sample 'b': not an image"),
        ({"a.png": b"no", "a.cls": b"1"}, "sample 'a': not an image"),
        ({"a.png": png(1, 5), "a.cls": b"1"}, "sample 'a': size must be 8 to 4096 px, got 5"),
        ({"a b.png": png(1), "a b.cls": b"1"}, "sample 'a b': a key must be 1 to 124 visible ASCII characters"),
        ({f"{'k' * 125}.png": png(1), f"{'k' * 125}.cls": b"1"}, "a key must be 1 to 124 visible ASCII characters"),
        ({**GOOD, "b.png": png(1), "b.cls": b"1", "a.txt": b""}, "the members of sample 'a' are not adjacent"),
    ],
)
def test_what_is_not_a_set_of_labeled_images_is_refused_before_anything_is_written(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    write_tar(tmp_path / "x.tar", members)
    with pytest.raises(ValueError, match=rf"x\.tar: .*{message}"):
        adopt_webdataset(tmp_path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("ext", "write", "options", "labels", "names"),
    [
        ("cls", lambda i: b"%d\n" % (i % 2), {}, [0, 1, 0, 1], ["0", "1"]),
        ("cls", lambda i: [b"dog", b"cat"][i % 2], {}, [1, 0, 1, 0], ["cat", "dog"]),
        ("cls", lambda i: b"%03d" % (98 + i), {}, [0, 1, 2, 3], ["098", "099", "100", "101"]),
        ("json", lambda i: json.dumps({"label": i % 2, "caption": "x"}).encode(), {}, [0, 1, 0, 1], ["0", "1"]),
        ("json", lambda i: json.dumps({"class_name": "ba"[i % 2]}).encode(), {}, [1, 0, 1, 0], ["a", "b"]),
        ("json", lambda i: json.dumps({"kind": i}).encode(), {"label_key": "kind"}, [0, 1, 2, 3], ["0", "1", "2", "3"]),
        ("cls", lambda i: b"%d" % (i % 2), {"class_names": ["tench", "crane"]}, [0, 1, 0, 1], ["tench", "crane"]),
        ("cls", lambda i: [b"dog", b"cat"][i % 2], {"class_names": ["dog", "cat", "bat"]}, [0, 1, 0, 1], None),
    ],
)
def test_labels_may_be_numbers_or_names_in_text_or_json(
    tmp_path: Path, ext: str, write: Any, options: dict[str, Any], labels: list[int], names: list[str] | None
) -> None:
    members = {f"k{i}.{kind}": png(i) if kind == "png" else write(i) for i in range(4) for kind in ("png", ext)}
    write_tar(tmp_path / "tars.tar", dict(list(members.items())[:4]))
    write_tar(tmp_path / "tars2.tar", dict(list(members.items())[4:]))
    adopted = adopt_webdataset(tmp_path, tmp_path / "adopted", **options)
    with Loader(adopted, batch_size=4, augment=CenterCrop(crop=32, mean="none"), extras=("json",)) as loader:
        (batch,) = loader
    assert batch.indices.tolist() == [0, 1, 2, 3] and batch.labels.tolist() == labels
    assert [entry.name for entry in ShardSet.open(adopted).manifest.classes] == (names or options["class_names"])
    assert batch.extras["json"] == [members.get(f"k{i}.json") for i in range(4)]
    assert verify_set(adopted, depth="decode") == []
    assert [found.problem for found in _with_a_byte_changed(adopted, "tars.tar", members[f"k0.{ext}"])] != []


def _with_a_byte_changed(adopted: Path, name: str, label: bytes) -> list[Finding]:
    shard = (adopted / name).resolve()
    content = shard.read_bytes()
    place = content.index(label, content.index(b"k0.") + 512)
    shard.write_bytes(content[:place] + b"7" + content[place + 1 :])
    return verify_set(adopted)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b", "a"], "two classes are called 'a'"),
        (["a", " ", "c"], "--classes: line 2 is empty"),
        (["a"], "label 2 needs at least 3 class names, but --classes has 1; name every class"),
    ],
)
def test_class_names_that_cannot_be_right_are_refused(
    elsewhere: Path, tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        adopt_webdataset(elsewhere, tmp_path / "cache", class_names=names)
    assert not (tmp_path / "cache").exists()


def test_a_tar_without_samples_may_come_first(elsewhere: Path, tmp_path: Path) -> None:
    write_tar(elsewhere / "a.tar", {})
    with Loader(adopt_webdataset(elsewhere, tmp_path / "x"), batch_size=5, augment=CenterCrop(crop=32)) as loader:
        assert loader.num_samples == 10


def test_what_is_adopted_can_be_loaded(tmp_path: Path) -> None:
    """Both names of JPEG in one tar, the longest keys, and a tar without samples."""
    content = encode(draw_image(1, 1, 32), PixelOptions(size_px=32))
    members = {f"{'k' * 123}{i}.{ext}": content for i, ext in enumerate(("jpg", "jpeg", "JPG"))}
    labels = {f"{name.partition('.')[0]}.cls": b"%d" % i for i, name in enumerate(members)}
    write_tar(tmp_path / "a.tar", dict(sorted({**members, **labels}.items())), tarfile.GNU_FORMAT)
    write_tar(tmp_path / "b.tar", {})
    with Loader(adopt_webdataset(tmp_path, tmp_path / "cache"), batch_size=3, augment=CenterCrop(crop=32)) as loader:
        assert next(iter(loader)).labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(("format", "is_taken"), [("PNG", True), ("WEBP", True), ("GIF", False), ("AVIF", False)])
def test_images_of_another_format_than_their_name_are_taken_where_they_load(
    tmp_path: Path, format: str, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    Image.fromarray(draw_image(1, 1, 32)).save(file, format)
    members = {"a.cls": b"0", "a.jpg": encode(draw_image(0, 0, 32), PixelOptions(size_px=32))}
    write_tar(tmp_path / "a.tar", {**members, "b.cls": b"1", "b.jpg": file.getvalue()})
    view = CenterCrop(crop=32, mean="none")
    if not is_taken:
        with pytest.raises(
            ValueError, match=rf"a\.tar: sample 'b': {format}, expected JPEG, PNG or WebP, which loaders"
        ):
            adopt_webdataset(tmp_path, tmp_path / "cache")
        monkeypatch.setattr("alexkit.prep.images.stored._check_format", lambda data: None)  # as an earlier version did
    adopted = adopt_webdataset(tmp_path, tmp_path / "cache")
    with Loader(adopted, batch_size=2, augment=view) as loader:
        if is_taken:
            pixels = np.asarray(Image.open(file).convert("RGB"))
            assert (next(iter(loader)).images[1].permute(1, 2, 0).numpy() == pixels).all()
        else:
            with pytest.raises(ValueError, match=r"'b' at offset 4608: it does not decode \(.*\), although its c"):
                list(loader)
    monkeypatch.undo()
    assert [finding.key for finding in verify_set(adopted, depth="decode")] == ([] if is_taken else ["b"])


def test_members_whose_names_have_capitals_are_extras_too(tmp_path: Path) -> None:
    members = {"Key.CLS": b"0", "Key.JSON": b"{}", "Key.PNG": png(1), "Key.Seg.TXT": b"x", "key.txt": b"of another"}
    write_tar(tmp_path / "a.tar", {**members, "key.cls": b"1", "key.png": png(2)})
    with Loader(
        adopt_webdataset(tmp_path, tmp_path / "cache"),
        batch_size=2,
        augment=CenterCrop(crop=32, mean="none"),
        extras=["json", "seg.txt", "txt"],
    ) as loader:
        extras = next(iter(loader)).extras
    assert extras == {"json": [b"{}", None], "seg.txt": [b"x", None], "txt": [None, b"of another"]}


@pytest.mark.parametrize("mask", ["mask.png", "png"])
def test_one_of_several_images_is_named_and_the_others_are_extras(tmp_path: Path, mask: str) -> None:
    other = "png" if mask == "mask.png" else "jpg"
    image = png(9) if other == "png" else jpeg(9)
    write_tar(tmp_path / "a.tar", {f"a.{other}": image, f"a.{mask}": png(1), "a.cls": b"0"})
    with pytest.raises(ValueError, match="name them with --image-column"):
        adopt_webdataset(tmp_path, tmp_path / "cache")
    for name in ("gif", ".png"):
        with pytest.raises(ValueError, match=rf"--image-column {name}: expected a member extension without its dot"):
            adopt_webdataset(tmp_path, tmp_path / "cache", image_column=name)
    adopted = adopt_webdataset(tmp_path, tmp_path / "cache", image_column=other.upper())
    with Loader(adopted, batch_size=1, augment=CenterCrop(crop=32, mean="none"), extras=[mask]) as loader:
        batch = next(iter(loader))
    assert batch.extras == {mask: [png(1)]} and bool((batch.images == 9).all())
    assert verify_set(adopted, depth="decode") == []


@pytest.mark.parametrize(("names", "split"), [(("a.tar.gz",), ""), (("a.tar", "b.tar.gz"), "same split")])
def test_compressed_tars_are_not_left_out(tmp_path: Path, names: tuple[str, ...], split: str) -> None:
    for name in names:
        write_tar(tmp_path / name, GOOD)
    with pytest.raises(ValueError, match=rf"{tmp_path}.*compressed tar.*{split}.*unpack"):
        adopt_webdataset(tmp_path, tmp_path / "cache")
    (tmp_path / "val-0.tar").write_bytes((tmp_path / names[0]).read_bytes())
    for name in names:
        (tmp_path / name).rename(tmp_path / f"train-{name}")
    adopt_webdataset(tmp_path, tmp_path / "cache", split="val")  # those of another split do not matter


@pytest.mark.parametrize("name", ["elsewhere", "link", "other"])
def test_no_tar_is_ever_touched(elsewhere: Path, tmp_path: Path, name: str) -> None:
    """The folder of the tars itself, a link to it, and a folder with something of the same name."""
    (tmp_path / "link").symlink_to(elsewhere)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/data-0.tar").write_bytes(b"somebody's")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(ValueError, match=f"{name}: not empty, and not a shard set; choose a new folder"):
        adopt_webdataset(elsewhere, tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (errno.EPERM, InputError, "new/cache: this disk has no symbolic links"),  # exFAT and FAT; ENOSYS with FUSE
        (errno.EROFS, OSError, "Read-only file system: '.*new/cache'"),
        (errno.EACCES, PermissionError, "Permission denied: '.*new/cache'"),
    ],
)
def test_a_folder_that_cannot_hold_links_is_refused_before_any_tar_is_read(
    elsewhere: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
    words: str,
) -> None:
    def no_links(link: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(target))

    def read(progress: int) -> None:
        raise AssertionError

    monkeypatch.setattr(Path, "symlink_to", no_links)
    with pytest.raises(error, match=words):
        adopt_webdataset(elsewhere, tmp_path / "new/cache", on_progress=read)
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_what_an_interrupted_call_left_is_written_anew(elsewhere: Path, tmp_path: Path) -> None:
    whole = adopt_webdataset(elsewhere, tmp_path / "whole")
    expected = {path.name: path.read_bytes() for path in whole.iterdir()}
    for kept in range(len(expected)):
        folder = tmp_path / f"left-{kept}"
        folder.mkdir()
        for path in sorted(whole.iterdir())[:kept]:
            if path.name != "manifest.json":
                shutil.copy(path, folder, follow_symlinks=False)
        (folder / "index.bin.0123456789ab.partial").write_bytes(b"x")
        adopt_webdataset(elsewhere, folder)
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".partial"}
        assert found == expected and (folder / "data-0.tar").is_symlink()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/data-0.tar").symlink_to(tmp_path / "elsewhere/data-1.tar")
    with pytest.raises(ValueError, match="theirs: not empty, and not a shard set"):
        adopt_webdataset(elsewhere, tmp_path / "theirs")


@pytest.fixture
def written_by_webdataset(tmp_path: Path) -> Path:
    """A shard by the library `webdataset`, which sorts the members of a sample: `cls` comes before `jpg`."""
    (tmp_path / "theirs").mkdir()
    with webdataset.TarWriter(str(tmp_path / "theirs/x.tar")) as tar:
        for i in range(6):
            image = encode(draw_image(i, i % 3, 32), PixelOptions(size_px=32))
            tar.write({"__key__": f"{i:04d}", "jpg": image, "cls": i % 3})
    return adopt_webdataset(tmp_path / "theirs", tmp_path / "adopted")


@pytest.mark.parametrize("depth", ["quick", "hashes", "decode"])
def test_a_sound_adopted_set_has_no_findings(written_by_webdataset: Path, depth: str) -> None:
    assert verify_set(written_by_webdataset, depth=depth) == []


def test_damage_of_an_adopted_set_is_found_and_where_it_shows_placed(written_by_webdataset: Path) -> None:
    shard = (written_by_webdataset / "x.tar").resolve()
    good = shard.read_bytes()
    index = read_index(written_by_webdataset / "x.idx", shard_bytes=len(good))
    header, image, label = int(index.image_offsets[2]) - 400, int(index.image_offsets[2]), int(index.label_offsets[2])
    for place, byte, key, words in (
        (header, b"\xff", None, "its SHA-256 differs"),
        (image, b"\x00", "0002", "its image changed since it was written"),
        (label, b"9", "0002", "label b'9', but it was written as 2"),
        (label, b"0", "0002", "label b'0', but it was written as 2"),
    ):
        shard.write_bytes(good[:place] + byte + good[place + 1 :])
        (finding,) = verify_set(written_by_webdataset)
        assert (finding.file, finding.key) == ("x.tar", key) and words in finding.problem


def test_one_damaged_image_among_labels_of_digits_is_the_only_finding(tmp_path: Path) -> None:
    """Classes called 098 to 103 are names, which say nothing of a class index; also where index.bin is lost."""
    members = {f"{i}.{ext}": png(i) if ext == "png" else b"%03d" % (98 + i) for i in range(6) for ext in ("png", "cls")}
    write_tar(tmp_path / "x.tar", members)
    adopted = adopt_webdataset(tmp_path, tmp_path / "adopted")
    content = (tmp_path / "x.tar").read_bytes()
    place = content.index(members["3.png"]) + 60
    (tmp_path / "x.tar").write_bytes(content[:place] + b"?" + content[place + 1 :])
    for depth in ("hashes", "decode"):
        assert [finding.key for finding in verify_set(adopted, depth=depth)] == ["3"]
    (adopted / "index.bin").unlink()
    assert [(one.file, one.key) for one in verify_set(adopted)] == [("index.bin", None), ("x.tar", "3")]


def test_extras_of_our_own_sets_are_none(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=CenterCrop(crop=56), extras=("json", "cls")) as loader:
        batch = next(iter(loader))
    assert batch.extras["json"] == [None] * 8
    assert batch.extras["cls"] == [b"%d" % label for label in batch.labels.tolist()]


def test_own_operators_come_after_the_built_in_ones(draw_shards: Any) -> None:
    for augment in (CenterCrop(crop=56), CenterCrop(crop=56, mean="crop"), CenterCrop(crop=56, mean="none")):
        with (
            Loader(draw_shards(), batch_size=8, augment=augment) as plain,
            Loader(draw_shards(), batch_size=8, augment=augment, operators=lambda x: -2.0 * x + 1.0) as changed,
        ):
            for a, b in zip(plain, changed, strict=True):
                assert torch.allclose(b.images, -2 * a.images + 1, atol=1e-3)


def test_numpy_takes_batches_without_a_copy(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=CenterCrop(crop=56)) as loader:
        batch = next(iter(loader))
    array = np.from_dlpack(batch.images)
    assert array.ctypes.data == batch.images.data_ptr() and array.shape == (8, 3, 56, 56)
