"""An image in a record of a TFRecord file."""

from typing import NamedTuple

from ....errors import InputError
from ...storage.by_offset import shown
from ..inputs import Extra, read_range, require_size
from .framing import FOOTER_BYTES, HEADER_BYTES, damage_of


class ExampleImage(NamedTuple):
    """The image at `offset` of the file, inside the data of a record, whose checksum covers all of them.

    `num_bytes` is 0 if no image was found in the record.
    """

    name: str
    label: int
    path: str
    num_bytes: int
    offset: int
    record_offset: int
    record_bytes: int
    extras: tuple[Extra, ...] = ()

    def read(self) -> bytes:
        """Return the content; see `SourceImage`. Raises InputError if the record does not match its checksum."""
        require_size(self.record_bytes)
        content = read_range(self.path, self.record_offset, self.record_bytes + FOOTER_BYTES)
        if (damage := damage_of(content)) is not None:
            raise InputError(f"the record at byte {self.record_offset - HEADER_BYTES} is damaged: {damage}")
        if not self.num_bytes:
            raise InputError(f"no image in the record at byte {self.record_offset - HEADER_BYTES}")
        start = self.offset - self.record_offset
        return content[start : start + self.num_bytes]

    def labeled(self, label: int, class_id: str | None = None) -> "ExampleImage":
        """See `SourceImage`."""
        return self._replace(label=label, name=self.name if class_id is None else f"{class_id}/{self.name}")

    def keeping(self, extra: Extra) -> "ExampleImage":
        """See `SourceImage`."""
        return self._replace(extras=tuple(sorted((*self.extras, extra))))

    @property
    def container(self) -> str:
        """See `SourceImage`."""
        return shown(self.path)
