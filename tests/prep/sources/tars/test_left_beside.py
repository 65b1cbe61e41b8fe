"""Laws of archives that were left beside what they unpack to."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import SourceOptions, open_source


def pack(folder: Path, name: str, *, prefix: str = "") -> Path:
    """Write `NAME.tar` of the folder NAME beside it."""
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        tar.add(folder / name, f"{prefix}{name}")
    return folder / f"{name}.tar"


def test_archives_of_splits_may_stay_beside_them(draw_source: Callable[..., Path]) -> None:
    folder = draw_source()
    expected = [split.fingerprint() for split in open_source(folder).splits]
    archives = [pack(folder, "train"), pack(folder, "val", prefix="./")]
    source = open_source(folder)
    assert [split.fingerprint() for split in source.splits] == expected
    assert source.passed_over == (f"files that belong to no split: 2, e.g. {archives[0]}",)
    with pytest.raises(InputError, match=r"train.tar: sample .* and a label"):
        open_source(folder, SourceOptions(layout="webdataset"))


def test_caltech_101_is_read_where_it_was_unpacked(draw_source: Callable[..., Path], tmp_path: Path) -> None:
    """Its annotations, also unpacked, were once taken for shards, and its compressed images for missing ones."""
    folder = tmp_path / "caltech"
    folder.mkdir()
    images = draw_source(splits=()).rename(folder / "101_ObjectCategories")
    expected = [split.fingerprint() for split in open_source(images).splits]
    (folder / "Annotations").mkdir()
    (folder / "Annotations/a.mat").write_bytes(b"x")
    archives = [pack(folder, "101_ObjectCategories"), pack(folder, "Annotations")]
    source = open_source(folder)
    assert [split.fingerprint() for split in source.splits] == expected
    assert source.passed_over[0] == f"archives that are unpacked beside them: 2, e.g. {archives[0]}"
    archives[0].rename(folder / "101_ObjectCategories.tar.gz")
    assert [split.fingerprint() for split in open_source(folder).splits] == expected


def test_tars_that_hold_something_else_than_the_folder_of_their_name_are_a_choice(
    draw_source: Callable[..., Path],
) -> None:
    folder = draw_source()
    (folder / "other").mkdir()
    (folder / "other/1.jpg").write_bytes(b"x")
    pack(folder, "other").rename(folder / "train.tar")
    with pytest.raises(InputError, match="more than one training split"):
        open_source(folder)
