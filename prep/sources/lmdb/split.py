"""Caffe's LMDB databases as a split: labels are numbers, and keys hold the paths of the images.

`convert_imageset` writes keys `00000012_n01440764/x.JPEG`, DIGITS `00000012_LABEL`; both write the pixels of images
that are not encoded as BGR. `convert_cifar_data` writes keys of five digits and RGB. For other keys, the order of the
channels is not known.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ....errors import InputError
from ...format.manifest import UNLABELED
from ...format.sample_index import NO_LABEL
from ...storage.by_offset import address_of, opened
from ...storage.window import window_of
from ..arrays.image import ArrayImage, PixelArray
from ..folders.read_ahead import READ_AHEAD, side_by_side
from ..inputs import FileImage, SourceImage, SourceSplit
from ..labels import LabeledImages
from ..numbered.table import Folders, note_folder, numbered_split
from ..options import SourceOptions
from ..remarks import Remarks
from .btree import Entry, entries_of, is_database
from .datum import Datum, datum_at

DATA_NAME, LOCK_NAME = "data.mdb", "lock.mdb"
_ENTRIES_PER_READ = 256
_WITH_PATH = re.compile(r"[0-9]+_(.+)", re.S)
_OF_DIGITS = re.compile(r"[0-9]{8,}_[0-9]+")
_OF_CIFAR = re.compile(r"[0-9]{5}")


def is_of_caffe(path: Path) -> bool:
    """Whether the first value of a database is a Datum; other databases hold what only their programs know.

    Raises InputError if it is damaged.
    """
    if not is_database(path):
        return False
    entry = next(entries_of(path), None)
    try:
        with window_of(path) as window:
            return entry is not None and datum_at(window, entry) is not None
    except ValueError:
        return False


def read_lmdb(
    files: Sequence[Path],
    split: str,
    options: SourceOptions,
    remarks: Remarks,
    *,
    around: Sequence[Path],
    first: SourceSplit | None = None,
) -> SourceSplit:
    """The split in `files`; for the arguments, see `numbered_split`.

    Raises InputError, naming the file and the key, for a damaged database, a value that is no image, a label that is no
    class index, and pixels whose order is not known; Unlabeled if every label is -1.
    """
    rows, folders = LabeledImages(), [Folders() for _ in files]
    for path, of_file in zip(files, folders, strict=True):
        stem = path.parent.name if path.name == DATA_NAME else path.stem
        remarks.used.update(map(str, (path.with_name(LOCK_NAME), path.with_name(f"{path.name}-lock"))))
        with opened(path) as file:
            end = file.num_bytes
        for entry, datum in _datums_in(path):
            text = entry.key.rstrip(b"\0").decode("utf-8", "surrogateescape")
            is_of_digits = _OF_DIGITS.fullmatch(text) is not None
            found = None if is_of_digits else _WITH_PATH.fullmatch(text)
            folder, _, name = (found[1] if found else f"{stem}-{text}").rpartition("/")
            if found and datum.label is not None and datum.label >= 0:
                note_folder(of_file, datum.label, folder)
            label = UNLABELED if datum.label in (None, NO_LABEL) else datum.label
            rows.add(label, _image(path, end, text, name, datum, is_bgr=is_of_digits or found is not None))
    if not rows:
        raise InputError(f"{files[0]}: holds no images")
    return numbered_split(rows, split, files[0], folders, _where, options, remarks, around=around, first=first)


def _datums_in(path: Path) -> Iterator[tuple[Entry, Datum]]:
    """All entries with their values, by key."""
    entries = entries_of(path)
    while some := list(islice(entries, _ENTRIES_PER_READ * READ_AHEAD)):
        parts = [some[at : at + _ENTRIES_PER_READ] for at in range(0, len(some), _ENTRIES_PER_READ)]
        for part, datums in zip(parts, side_by_side(parts, lambda part: _read(path, part), [path]), strict=True):
            yield from zip(part, datums, strict=True)


def _read(path: Path, entries: Sequence[Entry]) -> list[Datum]:
    datums = []
    with window_of(path) as window:
        for entry in entries:
            try:
                datums.append(datum_at(window, entry))
            except ValueError as error:
                raise InputError(f"{path}: key {entry.key[:80]!r} at byte {entry.offset}: {error}") from None
    return datums


def _image(path: Path, end: int, key: str, name: str, datum: Datum, *, is_bgr: bool) -> SourceImage:
    address = address_of(path)
    if datum.is_encoded:
        return FileImage(name, 0, address, datum.num_bytes, datum.offset)
    size = (datum.channels, datum.height, datum.width)
    if datum.channels > 1 and not is_bgr and not (_OF_CIFAR.fullmatch(key) and size == (3, 32, 32)):
        raise InputError(
            f"{path}: key {key[:80]!r} holds pixels, as RGB or BGR; the order is known only for keys as Caffe's "
            "convert_imageset writes them, 00000012_PATH: write the database again "
            "with it, or the images to class folders"
        )
    num_rows = end - datum.num_bytes + 1
    # Any byte begins a row, so that all images of one size share one array.
    array = PixelArray(
        address, 0, num_rows, 1, "CHW", datum.height, datum.width, datum.channels, is_bgr=is_bgr and datum.channels > 1
    )
    return ArrayImage(name, 0, array, datum.offset)


def _where(image: SourceImage) -> str:
    return f"{image.container}: image {image.name!r}"
