"""RecordIO files as splits."""

from collections.abc import Iterator
from pathlib import Path

from ..candidate import Candidate, SourceFolder
from ..folders.listing import Folder
from ..recordio.split import read_recordio
from .packed_format import PackedFormat


def _in_folder(folder: Folder, files: tuple[Path, ...], split: str, source: SourceFolder) -> Iterator[Candidate]:
    yield from _in_family(folder.where / "*.rec", files, split, source)


def _in_family(pattern: Path, files: tuple[Path, ...], split: str, source: SourceFolder) -> Iterator[Candidate]:
    yield Candidate(
        split=split,
        path=pattern,
        kind="RecordIO files",
        layout="recordio",
        read=lambda first: read_recordio(
            files, split, source.options, source.remarks, around=source.class_file_folders, first=first
        ),
        files=files,
    )


RECORDIO = PackedFormat(
    kind="RecordIO file",
    is_named=lambda name: name.endswith(".rec"),
    suffix=".rec",
    in_folder=_in_folder,
    in_family=_in_family,
)
