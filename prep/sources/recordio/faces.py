"""InsightFace's sets of faces, whose `.rec` also holds records without images.

The record with id 0 has two labels: one more than the number of images, and the end of the ids of identities. Records
of identities have two labels as well, the range of their images. An image has one label, its identity, or two, the
second of which tells whether the face was aligned. `property` beside the file has one line: `NUM_CLASSES,HEIGHT,WIDTH`.
"""

import re
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...storage.by_offset import opened
from .framing import record_at
from .idx import Idx
from .image import header_of

NUM_LABELS = 2
PROPERTY_NAME = "property"
_MAX_CLASSES = _MAX_EXACT = 2**24
"""From here on, a label, which has 32 bits, cannot hold every integer."""
_MAX_PROPERTY_BYTES = 2**10
_PROPERTY = re.compile(rb"\s*([0-9]{1,9})\s*,\s*[0-9]+\s*,\s*[0-9]+\s*")


class FaceSet(NamedTuple):
    """What a set says of itself; None for what it does not say, as after it was shuffled."""

    num_images: int | None
    """Number of images, or `_MAX_EXACT` if it is at least that."""
    num_classes: int | None
    """Number of identities."""

    def check(self, path: Path, num_images: int) -> None:
        """Raise InputError if the file does not hold the images that it states."""
        stated = self.num_images
        if stated is not None and num_images != stated and min(num_images, stated) < _MAX_EXACT:
            raise InputError(
                f"{path}: holds {num_images:,} images, but its record 0, as of InsightFace, states {stated:,}; get the "
                "file again"
            )


def face_set(path: Path, idx: Idx | None) -> FaceSet | None:
    """The set that `path` is: one that has a record 0 or a `property`."""
    num_images, num_classes = _num_images(path, idx), _num_classes(path.with_name(PROPERTY_NAME))
    return None if num_images is None and num_classes is None else FaceSet(num_images, num_classes)


def _num_images(path: Path, idx: Idx | None) -> int | None:
    """What record 0 states, which is the first one or the one with key 0 in the `.idx`."""
    with opened(path) as file:
        for offset in dict.fromkeys((0, None if idx is None else idx.offset_of(0))):
            if offset is None:
                continue
            try:
                record = record_at(file.read_at, offset, file.num_bytes)
                header = header_of(record.head, record.num_bytes)
            except InputError:
                continue
            is_empty = header.num_labels == NUM_LABELS and header.num_bytes == record.num_bytes
            if header.id == 0 and is_empty and header.labels[0] >= 1:
                return int(min(header.labels[0] - 1, _MAX_EXACT))
    return None


def _num_classes(path: Path) -> int | None:
    if not path.is_file():
        return None
    with opened(path) as file:
        found = _PROPERTY.fullmatch(file.read_at(0, _MAX_PROPERTY_BYTES))
    return None if found is None or not 0 < int(found[1]) <= _MAX_CLASSES else int(found[1])
