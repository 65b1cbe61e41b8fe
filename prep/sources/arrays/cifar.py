"""CIFAR-10 and CIFAR-100 as downloaded: binary batches, or Python's, which are pickles and never unpickled.

Pixels are planes: 1024 bytes of red, green and blue, row by row. Both versions give the same images, names and labels.
"""

import re
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....errors import InputError
from ...storage.by_offset import address_of, opened
from ..inputs import SourceSplit
from ..lists.text_table import class_lines
from ..options import SourceOptions
from ..remarks import Remarks
from .batch_pickle import StoredArray, read_batch
from .image import PixelArray
from .rows import Found, Part, split_of, table_of

SIDE_PX = 32
IMAGE_BYTES = 3 * SIDE_PX**2
_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


class _Version(NamedTuple):
    """One of the four downloads."""

    name: str
    splits: dict[str, tuple[str, ...]]
    """The files of each split."""
    meta: tuple[str, ...]
    """The files of class names, those of fine labels first."""
    is_pickled: bool
    images_per_file: dict[str, int]
    """How many images a file of each split has."""

    @property
    def kind(self) -> str:
        return f"{self.name}'s {'Python' if self.is_pickled else 'binary'} batches"

    @property
    def has_coarse(self) -> bool:
        return self.name == "CIFAR-100"


def _batches(suffix: str) -> dict[str, tuple[str, ...]]:
    return {"train": tuple(f"data_batch_{i}{suffix}" for i in range(1, 6)), "test": (f"test_batch{suffix}",)}


_OF_10 = {"train": 10_000, "test": 10_000}
_OF_100 = {"train": 50_000, "test": 10_000}
_VERSIONS = (
    _Version("CIFAR-10", _batches(".bin"), ("batches.meta.txt",), False, _OF_10),
    _Version("CIFAR-10", _batches(""), ("batches.meta",), True, _OF_10),
    _Version(
        "CIFAR-100",
        {"train": ("train.bin",), "test": ("test.bin",)},
        ("fine_label_names.txt", "coarse_label_names.txt"),
        False,
        _OF_100,
    ),
    _Version("CIFAR-100", {"train": ("train",), "test": ("test",)}, ("meta",), True, _OF_100),
)
_COARSE, _FINE = re.compile("coarse(_labels?)?"), re.compile("fine(_labels?)?")


def recognize(names: Collection[str]) -> list[Found]:
    """The versions of CIFAR that a folder of files with these names holds."""
    found = []
    for version in _VERSIONS:
        if version.has_coarse and version.meta[0] not in names:
            continue  # `train.bin` alone may be anything
        files = {split: tuple(name for name in all_ if name in names) for split, all_ in version.splits.items()}
        there = {split: some for split, some in files.items() if some}
        if there:
            found.append(Found("cifar", version.kind, there, partial(_read, version, names)))
    return found


def _read(
    version: _Version, names: Collection[str], folder: Path, split: str, options: SourceOptions, remarks: Remarks
) -> SourceSplit:
    column = _column(version, folder, options)
    missing = [name for name in version.splits[split] if name not in names]
    if missing:
        remarks.note(f"{folder}: {', '.join(missing)} missing; is the download complete?")
    for name in version.meta:
        remarks.used.add(str(folder / name))
    table = _table(version, names, folder, column, remarks)
    parts = []
    for name in version.splits[split]:
        if name in names:
            read = _read_pickle if version.is_pickled else _read_binary
            parts.append(read(version, folder / name, column))
    found = sum(part.array.num_images for part in parts)
    if found != (published := len(parts) * version.images_per_file[split]):
        files = ", ".join(name for name in version.splits[split] if name in names)
        remarks.note(f"{folder}: {found:,} images in {files}; {version.name} has {published:,} there")
    return split_of(split, parts, options, table=table)


def _column(version: _Version, folder: Path, options: SourceOptions) -> str:
    """Which labels to read: `fine` or `coarse`; those of CIFAR-10 count as fine."""
    wanted = options.label_column
    if wanted is None or (version.has_coarse and _FINE.fullmatch(wanted)):
        return "fine"
    if version.has_coarse and _COARSE.fullmatch(wanted):
        return "coarse"
    has = "fine and coarse labels" if version.has_coarse else "one label per image: leave the option out"
    raise InputError(f"{folder}: --label-column {wanted}: {version.name} has {has}")


def _table(version: _Version, names: Collection[str], folder: Path, column: str, remarks: Remarks) -> list[str] | None:
    """The class names, in the order of the labels; None, with a note, if their file is missing."""
    name = version.meta[1 if column == "coarse" and not version.is_pickled else 0]
    path = folder / name
    if name not in names:
        remarks.note(f"{path}: missing, so classes are named by their numbers")
        return None
    if not version.is_pickled:
        return table_of(path, class_lines(path))
    key = f"{column}_label_names" if version.has_coarse else "label_names"
    found = _unpickled(version, path).get(key)
    if not isinstance(found, list) or not all(type(one) is str for one in found):
        raise InputError(f"{path}: no list {key}; {_way_out(version)}")
    return table_of(path, found)


def _read_binary(version: _Version, path: Path, column: str) -> Part:
    """A file of records: one label, or coarse and fine, and the pixels."""
    num_labels = 2 if version.has_coarse else 1
    row_bytes = num_labels + IMAGE_BYTES
    with opened(path) as file:
        num_images, rest = divmod(file.num_bytes, row_bytes)
        if rest or not num_images:
            raise InputError(
                f"{path}: {file.num_bytes:,} bytes; expected a multiple of {row_bytes:,}, the label"
                f"{'s' if num_labels > 1 else ''} and pixels of an image; download it again"
            )
        labels = []
        rows_at_once = 1000
        for first in range(0, num_images, rows_at_once):
            count = min(rows_at_once, num_images - first)
            some = np.frombuffer(file.read_at(first * row_bytes, count * row_bytes), np.uint8)
            labels += some.reshape(count, row_bytes)[:, 1 if column == "fine" and num_labels == 2 else 0].tolist()
    array = PixelArray(address_of(path), num_labels, num_images, row_bytes, "CHW", SIDE_PX, SIDE_PX, 3)
    return Part(array, labels, path.stem)


def _read_pickle(version: _Version, path: Path, column: str) -> Part:
    """A dict of labels and an array of pixels."""
    batch = _unpickled(version, path)
    key = f"{column}_labels" if version.has_coarse else "labels"
    labels, pixels = batch.get(key), batch.get("data")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise InputError(f"{path}: no list of whole numbers {key}; {_way_out(version)}")
    if not isinstance(pixels, StoredArray):
        raise InputError(f"{path}: no array data; {_way_out(version)}")
    expected = (len(labels), IMAGE_BYTES)
    if pixels.shape != expected or pixels.content.num_bytes != len(labels) * IMAGE_BYTES or not labels:
        raise InputError(
            f"{path}: {len(labels):,} labels, and an array data of shape {pixels.shape} in "
            f"{pixels.content.num_bytes:,} bytes; expected shape {expected}; {_way_out(version)}"
        )
    array = PixelArray(
        address_of(path),
        pixels.content.start,
        len(labels),
        IMAGE_BYTES,
        "CHW",
        SIDE_PX,
        SIDE_PX,
        3,
        is_fortran=pixels.is_fortran,
    )
    return Part(array, labels, path.name)


def _unpickled(version: _Version, path: Path) -> dict[str, object]:
    try:
        with opened(path) as file:
            return read_batch(file)
    except InputError as error:
        raise InputError(f"{path}: {error}; {_way_out(version)}") from None


def _way_out(version: _Version) -> str:
    archive = version.name.lower()
    return f"download {archive}-python.tar.gz again, or {archive}-binary.tar.gz, from {_PAGE}"
