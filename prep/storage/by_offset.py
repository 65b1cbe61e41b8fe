"""Reads large files by offset, on disk or in a store: tars, parquet files and other files of many images.

While a source in a store is listed, such a file has a local stand-in: an empty file of its name and size, so that all
code that looks at folders finds it. `address_of` returns what an image stores of the file, which every machine can
open: the path of a file on disk, or the URL and the listed version of one in a store.
"""

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

from .store import ObjectStore
from .url import SCHEMES, Scheme, StoreUrl

BLOCK_BYTES = 2**16
"""Smallest read from a store, so that a header comes with what follows it, and a small image in one read."""
_VERSION = "\n"  # separates the URL of an object from its version, which contains no line break
# Names of files and objects may contain anything, even line breaks. But no path begins so: two slashes become one.
_IN_STORE = tuple(f"{scheme}://" for scheme in SCHEMES)

_stand_ins: dict[str, str] = {}


class ByOffset(Protocol):
    """An open file."""

    @property
    def num_bytes(self) -> int:
        """Its size in bytes."""

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """Read `num_bytes` at `offset`, fewer at the end of the file.

        Raises OSError if it cannot be read, and ChangedError if it is in a store and changed since it was listed.
        """


def stand_in(path: Path, url: StoreUrl, num_bytes: int, e_tag: str | None) -> None:
    """Make `path` the stand-in of an object: a file of its size without content."""
    with path.open("wb") as file:
        file.truncate(num_bytes)
    _stand_ins[str(path)] = address_in_store(url, num_bytes, e_tag)


def address_in_store(url: StoreUrl, num_bytes: int, e_tag: str | None) -> str:
    """What `address_of` returns for the stand-in of an object."""
    return f"{url}{_VERSION}{num_bytes} {e_tag or ''}"


def address_of(path: Path) -> str:
    """What to store of a file to open it later, on any machine: its path or, for a stand-in, what it stands for."""
    return _stand_ins.get(str(path), str(path))


def shown(address: str) -> str:
    """A result of `address_of` without a version, for display."""
    return address.rpartition(_VERSION)[0] if is_in_store(address) else address


def is_in_store(address: str) -> bool:
    """Whether a result of `address_of` is the URL of an object, with or without its version, and not a path."""
    return address.startswith(_IN_STORE)


def store_of(address: str) -> str:
    """The bucket, container, web server or repository of the Hub that an address is in; empty for a path."""
    if not is_in_store(address):
        return ""
    scheme, _, rest = address.partition("://")
    return "/".join([f"{scheme}:", "", *rest.split("/")[: 3 if scheme == "hf" else 1]])


@contextmanager
def opened(path: str | Path) -> Iterator[ByOffset]:
    """Open a path, the path of a stand-in, or a result of `address_of`. Raises OSError."""
    address = _stand_ins.get(str(path), str(path))
    if is_in_store(address):
        yield _Object(address)
        return
    descriptor = os.open(address, os.O_RDONLY)
    try:
        yield DiskFile(descriptor)
    finally:
        os.close(descriptor)


class DiskFile:
    """An open file on disk."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def num_bytes(self) -> int:
        """See `ByOffset`."""
        return os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """See `ByOffset`."""
        return os.pread(self._descriptor, num_bytes, offset)


class _Object:
    def __init__(self, address: str) -> None:
        text, _, version = address.rpartition(_VERSION)
        size, _, e_tag = version.partition(" ")
        scheme, _, rest = text.partition("://")
        host, _, path = rest.partition("/")
        self._store = ObjectStore(StoreUrl(cast(Scheme, scheme), host, path))
        self._e_tag = e_tag or None
        self.num_bytes = int(size)
        self._block = (0, b"")
        self._lock = threading.Lock()

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        end = min(offset + num_bytes, self.num_bytes)
        with self._lock:
            first, block = self._block
        if first <= offset and end <= first + len(block):
            return block[offset - first : end - first]
        stop = max(end, min(offset + BLOCK_BYTES, self.num_bytes))
        block = self._store.read(range=(offset, stop), if_match=self._e_tag)
        with self._lock:
            self._block = (offset, block)
        return block[: end - offset]


class AsFile(io.RawIOBase):
    """An open file as a Python file object, for libraries that need one."""

    def __init__(self, file: ByOffset) -> None:
        super().__init__()
        self._file, self._position = file, 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `io.RawIOBase`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.num_bytes}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._position

    def readinto(self, buffer: "memoryview[int]", /) -> int:  # type: ignore[override]
        """See `io.RawIOBase`."""
        content = self._file.read_at(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
