"""Small generated class-folder sources."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources.recognize import open_source

DrawSource = Callable[..., Path]


def drawn_jpeg(number: int, width: int = 80, height: int = 60, **save: object) -> bytes:
    """A smooth RGB JPEG, different for every number."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (4, 5, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", **save)
    return file.getvalue()


def draw_source_at(
    folder: Path, *, splits: tuple[str, ...] = ("train", "val"), num_classes: int = 3, images_per_class: int = 5
) -> Path:
    """Write class folders `folder/SPLIT/n0000000C/…`, or `folder/n0000000C/…` without splits."""
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
    """`draw_source(**options)` returns a new source folder; options as for `draw_source_at`."""
    return lambda **options: draw_source_at(tmp_path / "source", **options)


TreeHashes = Callable[[Path], dict[str, str]]


@pytest.fixture
def tree_hashes() -> TreeHashes:
    """A function that maps every file below a folder, by relative path, to its SHA-256."""
    return lambda folder: {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


GiveTheSameShards = Callable[[Path, Path], None]


@pytest.fixture
def give_the_same_shards(tmp_path: Path, tree_hashes: TreeHashes) -> GiveTheSameShards:
    """Check that two sources give the same bytes, with one worker and with two, and that the second is left unchanged.

    Manifests are not compared, since their source fingerprints cover data that not every layout lists. Neither are the
    source tables, which record where images are.
    """

    def check(folders: Path, other: Path) -> None:
        before, trees = tree_hashes(other), []
        for num_workers, source in ((1, folders), (2, other)):
            out = tmp_path / f"by-{num_workers}"
            options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, num_workers=num_workers)
            build_shards(open_source(source), out, options, on_split=lambda split: lambda done, num_bad: None)
            tree = tree_hashes(out)
            trees.append(
                {path: digest for path, digest in tree.items() if not path.endswith(("manifest.json", "sources.jsonl"))}
            )
        assert trees[0] == trees[1] and tree_hashes(other) == before

    return check
