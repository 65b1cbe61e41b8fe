"""Reads small parts of a file that are far apart, in ascending order, with few reads: headers between images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .by_offset import ByOffset, address_of, is_in_store, opened

DISK_BYTES = 2**12  # what precedes and follows an image in its record; the image itself is skipped
STORE_BYTES = 2**20  # a request costs more than the images that it reads in vain
_MAX_VARINT = 10


class Window:
    """A part of a file in memory, which moves to the bytes that are needed.

    The part before is kept too: what is before an image may be needed once more after what follows it.
    """

    def __init__(self, file: ByOffset, num_bytes: int) -> None:
        self._file, self._num_bytes = file, num_bytes
        self._start, self._data = 0, b""
        self._before = (0, b"")
        self.file_bytes = file.num_bytes

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Bytes of the file, fewer at its end."""
        at = offset - self._start
        if at < 0 or at + num_bytes > len(self._data):
            self._move(offset, num_bytes)
            at = offset - self._start
        return self._data[at : at + num_bytes]

    def varint(self, offset: int) -> tuple[int, int]:
        """A number as protobuf encodes it, and where it ends; raises ValueError if there is none."""
        at = offset - self._start
        if at < 0 or at + _MAX_VARINT > len(self._data):
            self._move(offset, _MAX_VARINT)
            at = offset - self._start
        if at < len(self._data) and self._data[at] < 128:  # most numbers have one byte
            return self._data[at], offset + 1
        number = 0
        for i, byte in enumerate(self._data[at : at + _MAX_VARINT]):
            number |= (byte & 127) << 7 * i
            if byte < 128:
                return number, offset + i + 1
        raise ValueError(f"no number at byte {offset}")

    def _move(self, offset: int, num_bytes: int) -> None:
        """Make the current part one that begins at or before `offset` and has as many bytes, unless the file ends."""
        start, data = self._before
        self._before = self._start, self._data
        if not start <= offset <= offset + num_bytes <= start + len(data):
            start, data = offset, self._file.read_at(offset, max(num_bytes, self._num_bytes))
        self._start, self._data = start, data


@contextmanager
def window_of(path: Path) -> Iterator[Window]:
    """Open a file, on disk or in a store."""
    with opened(path) as file:
        yield Window(file, STORE_BYTES if is_in_store(address_of(path)) else DISK_BYTES)
