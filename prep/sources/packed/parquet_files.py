"""Parquet files as splits."""

from collections.abc import Iterator
from pathlib import Path

from ..candidate import Candidate, SourceFolder
from ..folders.listing import Folder
from ..inputs import SourceSplit
from .packed_format import PackedFormat


def _in_folder(folder: Folder, files: tuple[Path, ...], split: str, source: SourceFolder) -> Iterator[Candidate]:
    """The files that hold images, not those that img2dataset writes to describe a tar or folder beside them."""
    kept = []
    for path in files:
        if path.with_suffix(".tar").exists() or (folder.where / path.stem).is_dir():
            folder.remarks.pass_over("tables of img2dataset", str(path))
        else:
            kept.append(path)
    if kept:
        yield from _in_family(folder.where / "*.parquet", tuple(kept), split, source)


def _in_family(pattern: Path, files: tuple[Path, ...], split: str, source: SourceFolder) -> Iterator[Candidate]:
    def read(_: SourceSplit | None) -> SourceSplit:
        from ..parquet.split import read_parquet

        return read_parquet(files, split, source.options, source.remarks)

    yield Candidate(split=split, path=pattern, kind="parquet files", layout="parquet", read=read, files=files)


PARQUET = PackedFormat(
    kind="parquet file",
    is_named=lambda name: name.endswith(".parquet"),
    suffix=".parquet",
    in_folder=_in_folder,
    in_family=_in_family,
)
