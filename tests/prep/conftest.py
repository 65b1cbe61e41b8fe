"""Small class-folder sources drawn here."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DrawSource = Callable[..., Path]


def drawn_jpeg(number: int, width: int = 80, height: int = 60, **save: object) -> bytes:
    """A smooth RGB JPEG that differs for every number."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (4, 5, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", **save)
    return file.getvalue()


def draw_source_at(
    folder: Path, *, splits: tuple[str, ...] = ("train", "val"), num_classes: int = 3, images_per_class: int = 5
) -> Path:
    """Class folders `folder/SPLIT/n0000000C/…`; with no split, `folder/n0000000C/…`."""
    number = 0
    for split in splits or ("",):
        for label in range(num_classes):
            class_folder = folder / split / f"n{label:08d}"
            class_folder.mkdir(parents=True)
            for i in range(images_per_class):
                number += 1
                content = drawn_jpeg(number, width=60 + 7 * (number % 5), height=60 + 9 * (number % 3))
                (class_folder / f"n{label:08d}_{i}.JPEG").write_bytes(content)
    return folder


@pytest.fixture
def draw_source(tmp_path: Path) -> DrawSource:
    """`draw_source(**options)` is a new folder with the options of `draw_source_at`."""
    return lambda **options: draw_source_at(tmp_path / "source", **options)


TreeHashes = Callable[[Path], dict[str, str]]


@pytest.fixture
def tree_hashes() -> TreeHashes:
    """SHA-256 of every file below a folder by its relative path."""
    return lambda folder: {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
