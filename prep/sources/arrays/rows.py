"""The split that arrays of images and their labels form."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...format.manifest import UNLABELED
from ...storage.by_offset import ByOffset, opened, shown
from ..inputs import SourceSplit
from ..labels import LabeledImages, RawLabel, Unlabeled, class_id_of
from ..options import Layout, SourceOptions
from ..remarks import Remarks
from .image import ArrayImage, PixelArray, where_of
from .unpacked import MAX_UNPACKED_BYTES

MAX_LABEL_BYTES = 2**26
"""Most bytes of labels or names in a file."""


class Found(NamedTuple):
    """A format that was recognized in a folder by the names of its files."""

    layout: Layout
    kind: str
    """What it is, for messages."""
    files: dict[str, tuple[str, ...]]
    """The names of the files that hold the images of each split."""
    read: Callable[[Path, str, SourceOptions, Remarks], SourceSplit]
    """Read a split of the folder."""


class Part(NamedTuple):
    """An array, the label of each image or None for all, and what its images' names begin with."""

    array: PixelArray
    labels: Sequence[int] | None
    stem: str


def split_of(
    split: str, parts: Iterable[Part], options: SourceOptions, *, table: Sequence[str] | None = None
) -> SourceSplit:
    """The split of all images in `parts`; an image is named `STEM-000012` after its array and row.

    `table` has the class ids, if the files name them. Raises Unlabeled for images without labels unless the options
    ask for them, and InputError for labels outside the table.
    """
    images = LabeledImages()
    for part in parts:
        where = shown(part.array.path)
        if part.labels is None and not options.unlabeled:
            raise Unlabeled(
                f"{where}: images without labels; put their labels beside them, or pass --unlabeled to store them "
                "without labels"
            )
        if part.array.is_fortran and part.array.num_bytes > MAX_UNPACKED_BYTES:
            raise InputError(
                f"{where}: a Fortran-ordered array of {part.array.num_bytes:,} bytes, more than the "
                f"{MAX_UNPACKED_BYTES:,} that each process keeps in memory; write it with numpy.ascontiguousarray"
            )
        labels: Sequence[RawLabel] = [UNLABELED] * part.array.num_images if part.labels is None else part.labels
        for row, label in enumerate(labels):
            images.add(label, ArrayImage(f"{part.stem}-{row:06}", 0, part.array, row))
    return images.split(split, where_of, table=None if UNLABELED in images.labels() else table)


def table_of(where: Path, names: Sequence[str]) -> list[str]:
    """Class ids from the names in a file; raises InputError if it names a class twice."""
    ids = [class_id_of(name) for name in names]
    twice = next((name for i, name in enumerate(ids) if name in ids[:i]), None)
    if twice is not None:
        raise InputError(f"{where}: names the class {twice!r} twice; download it again")
    return ids


def read_whole(path: Path) -> bytes:
    """The content of a small file, also of one in a store; raises InputError if it is too large."""
    with opened(path) as file:
        require_small(path, file)
        return file.read_at(0, file.num_bytes)


def require_small(path: Path, file: ByOffset) -> None:
    """Raise InputError for a file that is too large for labels."""
    if file.num_bytes > MAX_LABEL_BYTES:
        raise InputError(f"{path}: {file.num_bytes:,} bytes, more than the {MAX_LABEL_BYTES:,} that labels may have")
