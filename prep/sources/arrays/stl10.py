"""STL-10's binary files as downloaded: 96 x 96 pixels in planes of red, green and blue, column by column.

Labels are 1 to 10. The 100,000 unlabeled images are a source by themselves: `unlabeled_X.bin` in a folder of its own.
"""

from collections.abc import Collection
from functools import partial
from pathlib import Path

from ....errors import InputError
from ...storage.by_offset import address_of, opened
from ..inputs import SourceSplit
from ..lists.text_table import class_lines
from ..options import SourceOptions
from ..remarks import Remarks
from .image import PixelArray
from .rows import Found, Part, read_whole, split_of, table_of

SIDE_PX = 96
IMAGE_BYTES = 3 * SIDE_PX**2
NUM_CLASSES = 10
_NAMES, _UNLABELED, _FOLDS = "class_names.txt", "unlabeled_X.bin", "fold_indices.txt"


def recognize(names: Collection[str]) -> list[Found]:
    """STL-10, if a folder of files with these names holds it."""
    files = {
        split: tuple(name for name in (f"{split}_X.bin", f"{split}_y.bin") if name in names)
        for split in ("train", "test")
        if f"{split}_X.bin" in names
    }
    if not files and _UNLABELED in names:
        files = {"train": (_UNLABELED,)}
    return [Found("stl10", "STL-10's binary files", files, partial(_read, files, names))] if files else []


def _read(
    files: dict[str, tuple[str, ...]],
    names: Collection[str],
    folder: Path,
    split: str,
    options: SourceOptions,
    remarks: Remarks,
) -> SourceSplit:
    images, *labels = files[split]
    remarks.used.update(str(folder / name) for name in (_NAMES, _FOLDS, _UNLABELED))
    array = _images(folder / images)
    table = table_of(folder / _NAMES, class_lines(folder / _NAMES)) if _NAMES in names else None
    if table is None and labels:
        remarks.note(f"{folder / _NAMES}: missing, so classes are named by their numbers, 0 to {NUM_CLASSES - 1}")
    if _UNLABELED in names and images != _UNLABELED:
        remarks.note(
            f"left out: {folder / _UNLABELED}, images without labels; to store them, pass a folder that holds this "
            "file alone, and --unlabeled"
        )
    part = Part(array, _labels(folder / labels[0], array) if labels else None, images.partition("_")[0])
    return split_of(split, [part], options, table=table)


def _images(path: Path) -> PixelArray:
    with opened(path) as file:
        count, rest = divmod(file.num_bytes, IMAGE_BYTES)
        if rest or not count:
            raise InputError(
                f"{path}: {file.num_bytes:,} bytes; expected a multiple of {IMAGE_BYTES:,}, the pixels of an image; "
                "unpack stl10_binary.tar.gz again"
            )
    return PixelArray(address_of(path), 0, count, IMAGE_BYTES, "CWH", SIDE_PX, SIDE_PX, 3)


def _labels(path: Path, array: PixelArray) -> list[int]:
    """Positions in the table of classes; the file counts from 1."""
    labels = read_whole(path)
    if len(labels) != array.num_images:
        raise InputError(
            f"{path}: {len(labels):,} labels, one byte each, for {array.num_images:,} images; unpack "
            "stl10_binary.tar.gz again"
        )
    for row, label in enumerate(labels):
        if not 1 <= label <= NUM_CLASSES:
            raise InputError(f"{path}, image {row}: label {label}; expected 1 to {NUM_CLASSES}")
    return [label - 1 for label in labels]
