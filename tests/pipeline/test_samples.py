"""Laws of stored samples: what the index promises, whatever the order of a tar's members."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from alexkit.pipeline.remote import StoredImages
from alexkit.pipeline.storage import Samples
from alexkit.prep import ShardSet
from alexkit.prep.build.adopt import adopt_webdataset


def test_samples_whose_label_comes_first_are_read_ahead(tmp_path: Path) -> None:
    """Other writers sort members by name, so `cls` comes before `jpg` and `png`."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), np.uint8)
    (tmp_path / "elsewhere").mkdir()
    with tarfile.open(tmp_path / "elsewhere" / "a.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, pixels in enumerate(noise):
            image = io.BytesIO()
            Image.fromarray(pixels).save(image, "PNG")
            for ext, content in (("cls", b"%d" % (number % 2)), ("png", image.getvalue())):
                member = tarfile.TarInfo(f"{number}.{ext}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    shard_set = ShardSet.open(adopt_webdataset(tmp_path / "elsewhere", tmp_path / "adopted"))
    samples, images = Samples([shard_set]), StoredImages(shard_set)
    assert samples.find(np.arange(16))[1].tolist() == [0, 1] * 8
    for indices in [[3, 1], list(range(16)), *([index] for index in range(16))]:
        samples.read_ahead(np.array(indices))
    for index, pixels in enumerate(noise):
        with Image.open(io.BytesIO(images.content(index))) as image_file:
            assert (np.asarray(image_file) == pixels).all()
