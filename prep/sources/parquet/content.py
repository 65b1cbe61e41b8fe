"""Reads parts of a parquet page without decompressing all of it, if its codec allows.

Files of images often hold a whole row group, a hundred images, in one page. Uncompressed pages are read by offset.
Snappy compresses blocks of 64 KiB that do not refer to each other, so their positions are found once and single blocks
decompressed. With other codecs, the page is decompressed for every value.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ....extras import explained_imports
from ...storage.by_offset import ByOffset
from ..inputs import MAX_INPUT_BYTES

with explained_imports():
    import pyarrow

CODECS = {"UNCOMPRESSED": None, "SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd"}
SNAPPY_BLOCK = 2**16
# A page that is compressed to less than this, as pages of encoded images never are, has too many small elements to walk
# through.
INCOMPRESSIBLE = 0.9

Read = Callable[[ByOffset, int, int], memoryview]
"""`read(file, position, num_bytes)` returns bytes of the decompressed page, fewer at its end."""


class Packed(NamedTuple):
    """A page, or the compressed part of one, as stored in its file."""

    offset: int
    num_bytes: int
    num_unpacked: int
    codec: str


class Content(NamedTuple):
    """The decompressed page: how to read it, the best size of a read, and its size in bytes."""

    read: Read
    window: int
    num_bytes: int


def content_of(file: ByOffset, packed: Packed) -> Content:
    """How to read the decompressed page; raises InputError if it is damaged or too large."""
    if CODECS[packed.codec] is None:
        return Content(_Plain(packed).read, 4096, packed.num_bytes)
    if packed.codec == "SNAPPY" and packed.num_bytes > INCOMPRESSIBLE * packed.num_unpacked:
        starts = _snappy_blocks(file, packed)
        if starts is not None:
            return Content(_SnappyBlocks(packed, starts).read, SNAPPY_BLOCK, packed.num_unpacked)
    if packed.num_unpacked > MAX_INPUT_BYTES:
        raise InputError(
            f"a page of {packed.num_unpacked} bytes, compressed by {packed.codec}, is too large to decompress for each "
            "image; write the file without compression or with smaller row groups"
        )
    return Content(_Whole(packed).read, packed.num_unpacked, packed.num_unpacked)


class _Plain(NamedTuple):
    packed: Packed

    def read(self, file: ByOffset, position: int, num_bytes: int) -> memoryview:
        num_bytes = max(0, min(num_bytes, self.packed.num_bytes - position))
        return memoryview(_pread(file, num_bytes, self.packed.offset + position))


class _Whole(NamedTuple):
    packed: Packed

    def read(self, file: ByOffset, position: int, num_bytes: int) -> memoryview:
        data = _pread(file, self.packed.num_bytes, self.packed.offset)
        return _unpack(data, self.packed.codec, self.packed.num_unpacked)[position : position + num_bytes]


class _SnappyBlocks(NamedTuple):
    packed: Packed
    starts: NDArray[np.int64]  # in the file: the start of each block and the end of the last

    def read(self, file: ByOffset, position: int, num_bytes: int) -> memoryview:
        end = min(position + num_bytes, self.packed.num_unpacked)
        if position >= end:
            return memoryview(b"")
        first, last = position // SNAPPY_BLOCK, -(-end // SNAPPY_BLOCK)
        begin = first * SNAPPY_BLOCK
        num_unpacked = min(last * SNAPPY_BLOCK, self.packed.num_unpacked) - begin
        start, stop = int(self.starts[first]), int(self.starts[last])
        data = _varint_bytes(num_unpacked) + _pread(file, stop - start, start)
        return _unpack(data, "SNAPPY", num_unpacked)[position - begin : end - begin]


def _snappy_blocks(file: ByOffset, packed: Packed) -> NDArray[np.int64] | None:
    """Where the blocks of a snappy stream start; None if they refer to each other, as some encoders let them."""
    position, end = packed.offset, packed.offset + packed.num_bytes
    position += len(_varint_bytes(packed.num_unpacked))  # the stream begins with its unpacked size
    starts = [position]
    num_unpacked = 0
    while position < end:
        head = file.read_at(position, 5)
        if not head:
            raise InputError(f"the file ends at byte {position}")
        kind, upper = head[0] & 3, head[0] >> 2
        if kind == 0:  # a literal; up to four more bytes hold its length
            more = max(0, upper - 59)
            size = 1 + (int.from_bytes(head[1 : 1 + more], "little") if more else upper)
            position += 1 + more + size
        else:  # a copy of earlier bytes
            size = 4 + (upper & 7) if kind == 1 else 1 + upper
            far = int.from_bytes(head[1:5] if kind == 3 else head[1:3], "little")
            back = (head[0] >> 5 << 8) + head[1] if kind == 1 else far
            if back > num_unpacked % SNAPPY_BLOCK:
                return None
            position += (0, 2, 3, 5)[kind]
        num_unpacked += size
        if num_unpacked > len(starts) * SNAPPY_BLOCK:
            return None
        if num_unpacked == len(starts) * SNAPPY_BLOCK or position >= end:
            starts.append(position)
    if position != end or num_unpacked != packed.num_unpacked:
        raise InputError(f"the page at byte {packed.offset} does not match its header")
    return np.array(starts, np.int64)


def _varint_bytes(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _pread(file: ByOffset, num_bytes: int, offset: int) -> bytes:
    data = file.read_at(offset, num_bytes)
    if len(data) != num_bytes:
        raise InputError(f"the file ends at byte {offset + len(data)}")
    return data


def _unpack(data: bytes, codec: str, num_bytes: int) -> memoryview:
    # The system's allocator: pyarrow's own reserves more address space than an input may take.
    pool = pyarrow.system_memory_pool()
    try:
        unpacked = pyarrow.Codec(CODECS[codec]).decompress(data, num_bytes, memory_pool=pool)
    except OSError as error:
        raise InputError(str(error)) from None
    return memoryview(unpacked).cast("B")
