"""All formats of packed files, and the splits that such files form: by their folder, or by their own names."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..candidate import Candidate, SourceFolder
from ..folders.listing import Folder
from ..inputs import SourceSplit, is_folder
from ..litter import is_of_shard_set
from ..split_names import SPLIT_WORDS, split_in
from .lmdb_files import LMDB
from .packed_format import PackedFormat
from .parquet_files import PARQUET
from .record_files import RECORDIO
from .tar_files import TARS
from .tfrecord_files import TFRECORDS

FORMATS = (LMDB, PARQUET, RECORDIO, TARS, TFRECORDS)


def is_packed(name: str) -> bool:
    """Whether a file of this name holds many images."""
    return packed_kind(name) is not None


def packed_kind(name: str) -> str | None:
    """What a file of this name is called if it holds many images, such as `parquet file`; else None."""
    return next((one.kind for one in FORMATS if one.is_named(name)), None)


def packed_contents(folder: Folder, split: str, source: SourceFolder) -> list[Candidate]:
    """What the packed files in the folder of one split could be.

    None in a zip file, whose members cannot be read by offset.
    """
    found: list[Candidate] = []
    if not folder.where.is_dir():
        return found
    for one in FORMATS:
        files = tuple(folder.where / file.name for file in folder.files if one.is_named(file.name))
        if files:
            found += one.in_folder(folder, files, split, source)
    all_files = {path.name for one in found for path in one.files}
    return [_remarking(one, folder, all_files.difference(path.name for path in one.files)) for one in found]


def _remarking(candidate: Candidate, folder: Folder, others: Collection[str]) -> Candidate:
    """The candidate, whose reading ends with remarks on what beside its files was not read.

    `others` are the files of other candidates in the folder.
    """

    def read(first: SourceSplit | None) -> SourceSplit:
        split = candidate.read(first)
        for file in folder.files:
            is_used = is_packed(file.name) or is_of_shard_set(file.name) or file.path in folder.remarks.used
            if file.name in others or not is_used:
                folder.remarks.pass_over("files beside shards or other files of many images", file.path)
        return split

    return replace(candidate, read=read)


def named_files(source: SourceFolder) -> Iterator[Candidate]:
    """`train-*.parquet`, `imagenet-train-00000.tar` and `train.rec`, here and in `data/`, whatever they hold."""
    folders = [folder for folder in (source.path, source.path / "data") if folder.is_dir()]
    names = {folder: _packed_names(folder) for folder in folders}
    for split in SPLIT_WORDS:
        for folder in folders:
            for one in FORMATS:
                for family, files in _families(folder, names[folder], split, one).items():
                    yield from one.in_family(folder / f"{family}*{one.suffix}", files, split, source)


def _packed_names(folder: Path) -> list[str]:
    """The sorted names of packed files in a folder; none in one that may not be listed, which need not be a split."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if is_packed(entry.name) and not is_folder(entry))
    except PermissionError:
        return []


def _families(folder: Path, names: Sequence[str], split: str, one: PackedFormat) -> dict[str, tuple[Path, ...]]:
    """The files of a split, grouped by what their names have in common."""
    families: dict[str, list[Path]] = {}
    for name in names:
        if one.is_named(name) and not name.startswith("."):
            found = split_in(name.removesuffix(one.suffix))
            if found is not None and found[0] == split:
                families.setdefault(found[1], []).append(folder / name)
    return {family: tuple(files) for family, files in families.items()}
