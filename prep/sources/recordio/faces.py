"""InsightFace's sets of faces, whose `.rec` also holds records without images.

The record with id 0 has two labels: one more than the number of images, and the end of the ids of identities. Records
of identities have two labels as well, the range of their images. An image has one label, its identity, or two, the
second of which tells whether the face was aligned. `property` beside the file has one line: `NUM_CLASSES,HEIGHT,WIDTH`.
"""

from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...storage.by_offset import opened
from .framing import Damaged, record_at
from .idx import Idx
from .image import header_of

NUM_LABELS = 2
PROPERTY_NAME = "property"
_MAX_CLASSES = _MAX_EXACT = 2**24
"""From here on, a label, which has 32 bits, cannot hold every integer."""
_MAX_PROPERTY_BYTES = 2**10


class FaceSet(NamedTuple):
    """What a set says of itself."""

    num_images: int
    """Number of images, or `_MAX_EXACT` if it is at least that."""
    num_classes: int | None
    """Number of identities, if `property` states it."""

    def check(self, path: Path, num_images: int) -> None:
        """Raise InputError if the file does not hold the images that it states."""
        if num_images != self.num_images and min(num_images, self.num_images) < _MAX_EXACT:
            raise InputError(
                f"{path}: holds {num_images:,} images, but its record 0, as of InsightFace, states "
                f"{self.num_images:,}; get the file again"
            )


def face_set(path: Path, idx: Idx | None) -> FaceSet | None:
    """The set that `path` is, if its first record, or the one with key 0 in its `.idx`, is such a record 0."""
    with opened(path) as file:
        for offset in dict.fromkeys((0, *([] if idx is None else [idx.offset_of(0)]))):
            if offset is None:
                continue
            try:
                record = record_at(file.read_at, offset, file.num_bytes)
                header = header_of(record.head, record.num_bytes)
            except (Damaged, InputError):
                continue
            if header.id == 0 and header.num_labels == NUM_LABELS and header.num_bytes == record.num_bytes:
                return FaceSet(min(int(header.labels[0]) - 1, _MAX_EXACT), _num_classes(path.with_name(PROPERTY_NAME)))
    return None


def _num_classes(path: Path) -> int | None:
    if not path.is_file():
        return None
    with opened(path) as file:
        text = file.read_at(0, _MAX_PROPERTY_BYTES).decode("ascii", "replace").strip()
    number = text.partition(",")[0]
    if not number.isdecimal() or not 0 < int(number) <= _MAX_CLASSES:
        raise InputError(f"{path}: {text[:40]!r}; expected NUM_CLASSES,HEIGHT,WIDTH, as InsightFace writes it")
    return int(number)
