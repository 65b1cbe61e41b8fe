"""Laws of duplicates: equal bytes and equal pictures are found, within a split and across, and nothing else is."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from alexkit.errors import InputError
from alexkit.prep import ShardSet
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.reports.duplicates import (
    Where,
    perceptual_hash,
    perceptual_hashes,
    same_bytes,
    same_pictures,
)

DrawShards = Callable[..., Path]


def photograph(number: int, size_px: int = 64) -> NDArray[np.uint8]:
    """A smooth random picture."""
    small = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((size_px, size_px), Image.Resampling.BICUBIC))


def draw_some_twice(number: int, label: int, size_px: int) -> NDArray[np.uint8]:
    """Samples 7 and 11 show what sample 3 shows, 11 a little brighter."""
    image = photograph(3 if number in (7, 11) else number, size_px)
    return np.clip(image.astype(int) + 6 * (number == 11), 0, 255).astype(np.uint8)


def draw_of_another_split(number: int, label: int, size_px: int) -> NDArray[np.uint8]:
    return photograph(3 if number == 0 else 1000 + number, size_px)


def where(set_number: int, index: int) -> Where:
    return Where(set_number=set_number, index=index)


@pytest.mark.parametrize("format", ["jpeg", "png", "raw"])
def test_copies_are_found_within_a_split_and_across(draw_shards: DrawShards, format: str) -> None:
    train = ShardSet.open(draw_shards(num_samples=20, format=format, draw=draw_some_twice))
    val = ShardSet.open(draw_shards(num_samples=5, format=format, split="val", draw=draw_of_another_split))
    assert same_bytes([train, val]) == [(where(0, 3), where(0, 7), where(1, 0))]
    hashes = [perceptual_hashes(one, num_workers=1, on_progress=lambda done: None) for one in (train, val)]
    assert same_pictures(hashes) == [(where(0, 3), where(0, 7), where(0, 11), where(1, 0))]


def test_an_image_that_does_not_decode_is_named_by_its_shard(draw_shards: DrawShards, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(draw_shards(num_samples=20, size_px=128, format="jpeg"), tmp_path / "set"))
    index = ShardSet.open(folder).sample_index()
    start, size = int(index.starts_N[1]), int(index.sizes_N[1])
    with (folder / "train-00000.tar").open("r+b") as file:
        file.seek(start)
        file.write(bytes(size))
    with pytest.raises(InputError, match=rf"train-00000.tar: the image at offset {start} does not decode \(.*verify"):
        perceptual_hashes(ShardSet.open(folder), num_workers=1, on_progress=lambda done: None)


def test_a_picture_saved_again_smaller_or_brighter_is_the_same_and_another_is_not() -> None:
    pixels = PixelOptions(size_px=128)

    def hash_of(image: Image.Image, quality: int) -> NDArray[np.uint32]:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return perceptual_hash(file.getvalue(), pixels)

    hashes, truth = [], []
    for number in range(30):
        image = Image.fromarray(photograph(number, 128))
        shrunk = image.resize((96, 96), Image.Resampling.BILINEAR).resize((128, 128), Image.Resampling.BICUBIC)
        hashes += [
            hash_of(image, 95),
            hash_of(image, 60),
            hash_of(shrunk, 90),
            hash_of(image.point(lambda x: x * 0.9), 90),
        ]
        truth.append(tuple(where(0, 4 * number + copy) for copy in range(4)))
    assert same_pictures([np.array(hashes)]) == truth


@pytest.mark.parametrize("size_px", [32, 64, 72])
def test_small_pictures_are_compared_by_their_own_pixels(size_px: int) -> None:
    """An eighth of 32 pixels are 4: enlarged to 9 all pictures were the same."""
    pixels = PixelOptions(size_px=size_px)
    hashes = []
    for number in range(40):
        file = io.BytesIO()
        Image.fromarray(photograph(number % 39, size_px)).save(file, "JPEG", quality=95)
        hashes.append(perceptual_hash(file.getvalue(), pixels))
    assert same_pictures([np.array(hashes)]) == [(where(0, 0), where(0, 39))]


def test_plain_pictures_are_not_taken_for_copies_of_each_other() -> None:
    pixels = PixelOptions(size_px=64, format="raw")
    plain = [np.full((64, 64, 3), level, np.uint8).tobytes() for level in (0, 100, 255)]
    assert same_pictures([np.array([perceptual_hash(data, pixels) for data in plain])]) == []
