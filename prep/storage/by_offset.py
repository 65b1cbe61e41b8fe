"""Large files read by offset, on a disk or in a store: tars and parquet files, which nobody wants whole.

While a source in a store is listed, such a file has a stand-in on this machine: an empty file of its name and size, so
that all code that looks at folders finds it. `address_of` gives what an image keeps of it, which every machine can
open: for a file of a disk its path, for one in a store its address and the version that was listed.
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
"""Read at once from a store: a header comes with what follows it, and a small image whole."""
_VERSION = "\n"  # between the address of an object and its version, which holds no other
# Names of files and of objects may hold anything, line breaks too. But no path begins so: two slashes become one.
_IN_STORE = tuple(f"{scheme}://" for scheme in SCHEMES)

_stand_ins: dict[str, str] = {}


class ByOffset(Protocol):
    """An open file."""

    @property
    def num_bytes(self) -> int:
        """Its size."""

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """So many bytes from `offset` on, fewer at its end.

        Raises OSError when it cannot be read, and for one in a store ChangedError when it changed since it was listed.
        """


def stand_in(path: Path, url: StoreUrl, num_bytes: int, e_tag: str | None) -> None:
    """Make `path` the stand-in of an object: a file of its size that holds nothing."""
    with path.open("wb") as file:
        file.truncate(num_bytes)
    _stand_ins[str(path)] = f"{url}{_VERSION}{num_bytes} {e_tag or ''}"


def address_of(path: Path) -> str:
    """What is kept of a file to open it later, on any machine: its path, or of a stand-in what it stands for."""
    return _stand_ins.get(str(path), str(path))


def shown(address: str) -> str:
    """An address without the version, for people."""
    return address.rpartition(_VERSION)[0] if is_in_store(address) else address


def is_in_store(address: str) -> bool:
    """Whether an address is that of an object in a store, with its version or as it is shown."""
    return address.startswith(_IN_STORE)


@contextmanager
def opened(path: str | Path) -> Iterator[ByOffset]:
    """Open a path, the path of a stand-in or what `address_of` gave. Raises OSError."""
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
    """An open file of a disk."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def num_bytes(self) -> int:
        """As `ByOffset` says."""
        return os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """As `ByOffset` says."""
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
    """An open file as Python's own file objects, for libraries that take these."""

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
        """As of any file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.num_bytes}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """As of any file."""
        return self._position

    def readinto(self, buffer: "memoryview[int]", /) -> int:  # type: ignore[override]
        """As of any file."""
        content = self._file.read_at(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
