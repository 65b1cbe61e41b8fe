"""Caffe's LMDB databases as splits: `ilsvrc12_train_lmdb/data.mdb`, or a file `train.lmdb`."""

from collections.abc import Iterator
from pathlib import Path

from ..candidate import Candidate, SourceFolder
from ..folders.listing import Folder
from ..lmdb.split import DATA_NAME, is_of_caffe, read_lmdb
from .packed_format import PackedFormat


def _in_folder(folder: Folder, files: tuple[Path, ...], split: str, source: SourceFolder) -> Iterator[Candidate]:
    pattern = folder.where / (DATA_NAME if folder.has(DATA_NAME) else "*.lmdb")
    yield from _in_family(pattern, files, split, source)


def _in_family(pattern: Path, files: tuple[Path, ...], split: str, source: SourceFolder) -> Iterator[Candidate]:
    """None if any is not of Caffe: such databases are refused as what they are."""
    if not all(map(is_of_caffe, files)):
        return
    yield Candidate(
        split=split,
        path=pattern,
        kind="LMDB databases of Caffe",
        layout="lmdb",
        read=lambda first: read_lmdb(
            files, split, source.options, source.remarks, around=source.class_file_folders, first=first
        ),
        files=files,
    )


LMDB = PackedFormat(
    kind="LMDB database",
    is_named=lambda name: name == DATA_NAME or name.endswith(".lmdb"),
    suffix="",
    in_folder=_in_folder,
    in_family=_in_family,
)
