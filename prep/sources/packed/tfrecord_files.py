"""TFRecord files as splits."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..candidate import Candidate, SourceFolder
from ..folders.listing import Folder
from ..inputs import SourceSplit
from .packed_format import PackedFormat

# `x.tfrecord`, `x.tfrecord-00000-of-00002`, `x.tfrec.gz`, which is refused with advice; not `x.tfrecord.idx`.
_WITH_SUFFIX = re.compile(r".+\.tfrec(ord)?s?(-\d+-of-\d+|[-_.]?\d+)?(\.gz)?", re.I)
_WITHOUT_SUFFIX = re.compile(r"[^.]*\d+-of-\d+")


def _is_named(name: str) -> bool:
    if "-of-" in name and _WITHOUT_SUFFIX.fullmatch(name):
        return True
    # There may be a million names of images beside each other, and the expression takes a microsecond for each.
    return ".tfrec" in name.lower() and _WITH_SUFFIX.fullmatch(name) is not None


def _in_folder(folder: Folder, files: tuple[Path, ...], split: str, source: SourceFolder) -> Iterator[Candidate]:
    return _in_family(folder.where / "*", files, split, source)


def _in_family(pattern: Path, files: tuple[Path, ...], split: str, source: SourceFolder) -> Iterator[Candidate]:
    def read(_: SourceSplit | None) -> SourceSplit:
        from ..tfrecords.split import read_tfrecords

        return read_tfrecords(files, split, source.options, source.remarks)

    yield Candidate(split=split, path=pattern, kind="TFRecord files", layout="tfrecord", read=read, files=files)


TFRECORDS = PackedFormat(
    kind="TFRecord file",
    is_named=_is_named,
    suffix="",
    in_folder=_in_folder,
    in_family=_in_family,
)
