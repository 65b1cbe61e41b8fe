"""The header of an image in a record, and images that are not one range of bytes of their file."""

import struct
from typing import NamedTuple

from ....errors import InputError
from ...storage.by_offset import opened, shown
from ..inputs import Extra, require_size
from .framing import content_of, record_at

HEADER_BYTES = 24
_LABEL_BYTES = 4


class ImageHeader(NamedTuple):
    """What a record says of its image; `num_bytes` is the size of the header with its labels."""

    id: int
    labels: tuple[float, ...]
    """Those in the part of the record that was read; `num_labels` counts all."""
    num_labels: int
    num_bytes: int


def header_of(head: bytes, record_bytes: int) -> ImageHeader:
    """The header of a record of `record_bytes` that begins with `head`; raises InputError if there is no room for it.

    The header is a number of labels, one label for records that state none, and two words of an id; then the labels.
    """
    if len(head) < HEADER_BYTES:
        raise InputError(f"{record_bytes} bytes, expected at least the {HEADER_BYTES} of an image's header")
    num_labels, label, number, _ = struct.unpack_from("<IfQQ", head)
    if num_labels == 0:
        return ImageHeader(number, (label,), 1, HEADER_BYTES)
    num_bytes = HEADER_BYTES + _LABEL_BYTES * num_labels
    if num_bytes > record_bytes:
        raise InputError(f"states {num_labels} labels, more than its {record_bytes} bytes have room for")
    num_read = min(num_labels, (len(head) - HEADER_BYTES) // _LABEL_BYTES)
    labels = struct.unpack_from(f"<{num_read}f", head, HEADER_BYTES)
    return ImageHeader(number, labels, num_labels, num_bytes)


class RecordImage(NamedTuple):
    """An image whose record was divided, or is damaged: reading it walks through the record's frames again."""

    name: str
    label: int
    path: str
    num_bytes: int
    offset: int
    """Where the record begins."""
    extras: tuple[Extra, ...] = ()

    def read(self) -> bytes:
        """Return the content; see `SourceImage`. Raises InputError if the record is damaged."""
        require_size(self.num_bytes)
        with opened(self.path) as file:
            record = record_at(file.read_at, self.offset, file.num_bytes)
            require_size(record.num_bytes)
            content = content_of(file.read_at, record)
        try:
            image = content[header_of(content, len(content)).num_bytes :]
        except InputError as error:
            raise InputError(f"the record at byte {self.offset} is damaged: {error}") from None
        if len(image) != self.num_bytes:
            raise InputError(f"{len(image)} bytes, expected {self.num_bytes} as when the source was listed")
        return image

    def labeled(self, label: int, class_id: str | None = None) -> "RecordImage":
        """See `SourceImage`."""
        return self._replace(label=label, name=self.name if class_id is None else f"{class_id}/{self.name}")

    def keeping(self, extra: Extra) -> "RecordImage":
        """See `SourceImage`."""
        return self._replace(extras=tuple(sorted((*self.extras, extra))))

    @property
    def container(self) -> str:
        """See `SourceImage`."""
        return shown(self.path)
