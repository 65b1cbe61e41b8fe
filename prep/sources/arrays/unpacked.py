"""Compressed arrays, and arrays that cannot be read by ranges, in the memory of the process that reads them.

A compressed stream has no ranges, and images are read in shuffled order; so each process unpacks an array once and
keeps it. Arrays larger than `MAX_UNPACKED_BYTES` are refused when they are listed.
"""

import threading
import zlib
from typing import Literal, NamedTuple

from ....errors import InputError
from ...storage.by_offset import ByOffset, opened

MAX_UNPACKED_BYTES = 2**28
"""Most bytes of arrays that a process keeps: the training images of PathMNIST, 211 MB, and not those of 64 x 64."""

Packing = Literal["none", "gzip", "deflate"]
_READ_BYTES = 2**20


class _Key(NamedTuple):
    path: str
    packing: Packing
    start: int
    num_packed: int
    num_bytes: int


_kept: dict[_Key, bytearray] = {}
_lock = threading.Lock()


def unpacked(path: str, packing: Packing, start: int, num_packed: int, num_bytes: int) -> bytearray:
    """The first `num_bytes` of a range of a file, unpacked; kept until other arrays need the room.

    Raises InputError if the file is damaged or shorter than when it was listed, OSError if it cannot be read.
    """
    key = _Key(path, packing, start, num_packed, num_bytes)
    with _lock:  # other threads wait instead of unpacking it again
        content = _kept.pop(key, None)
        if content is None:
            while _kept and sum(map(len, _kept.values())) + num_bytes > MAX_UNPACKED_BYTES:
                del _kept[next(iter(_kept))]
            with opened(path) as file:
                content = unpack(file, packing, start, num_packed, num_bytes)
            if len(content) != num_bytes:
                raise InputError(f"only {len(content)} bytes, expected {num_bytes} as when the source was listed")
        _kept[key] = content  # the last one used is removed last
        return content


def unpack(file: ByOffset, packing: Packing, start: int, num_packed: int, max_bytes: int) -> bytearray:
    """At most `max_bytes` of a range of a file, unpacked; raises InputError, in one line, if it is damaged."""
    if packing == "none":
        return bytearray(file.read_at(start, min(num_packed, max_bytes)))
    content, position, end = bytearray(), start, start + num_packed
    wbits = 16 + zlib.MAX_WBITS if packing == "gzip" else -zlib.MAX_WBITS
    stream = zlib.decompressobj(wbits)
    data = b""
    try:
        while len(content) < max_bytes:
            if stream.eof:  # a file of gzip may consist of several streams
                data = stream.unused_data
                if packing == "deflate" or not (data or position < end):
                    break
                stream = zlib.decompressobj(wbits)
            if not data:
                data = file.read_at(position, min(_READ_BYTES, end - position))
                position += len(data)
                if not data:
                    raise InputError("ends before its compressed data do; download it again")
            content += stream.decompress(data, max_bytes - len(content))
            data = stream.unconsumed_tail
    except zlib.error as error:
        raise InputError(f"damaged compressed data ({error}); download it again") from None
    return content
