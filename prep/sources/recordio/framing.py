"""The framing of RecordIO: finds records by reading only headers, and joins those that were divided.

A frame is the magic number, a word with a flag in its upper 3 bits and the length in the others, the content, and zeros
up to a multiple of 4 bytes. A record is one frame (flag 0), or several (flags 1, 2, …, 2, 3) if its content has the
magic number at a multiple of 4 bytes: it is cut there, and the number itself is left out. Numbers are little-endian.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

from ....errors import InputError

MAGIC = b"\x0a\x23\xd7\xce"
FRAME_BYTES = 8
HEAD_BYTES = 48
"""Bytes that are read of a record at first: its frame's header, and an image header with up to four labels."""
_FLAG_BITS = 29
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


Read = Callable[[int, int], bytes]
"""Reads, at an offset of a file, a number of bytes, fewer at its end."""


class Damaged(InputError):
    """No record could be read at a byte where one must begin."""


class Record(NamedTuple):
    """Where a record is in its file."""

    offset: int
    stop: int
    """The byte after its last padding, where the next record begins."""
    frames: tuple[tuple[int, int], ...]
    """Offset and length of the content of each frame."""
    head: bytes
    """The beginning of the content of the first frame."""

    @property
    def num_bytes(self) -> int:
        """Length of the content."""
        return sum(length for _, length in self.frames) + len(MAGIC) * (len(self.frames) - 1)


def record_at(read: Read, offset: int, end: int) -> Record:
    """The record at `offset` of a file of `end` bytes.

    Raises Damaged, without the file's name, if there is none or it is not whole.
    """
    begin = read(offset, HEAD_BYTES)
    flag, length = _frame(begin, offset, end)
    first = offset + FRAME_BYTES
    stop = first + -(-length // 4) * 4
    head = begin[FRAME_BYTES : FRAME_BYTES + length]
    if flag == _WHOLE:
        return Record(offset, stop, ((first, length),), head)
    if flag != _FIRST:
        raise Damaged(f"at byte {offset} begins a part of a record with flag {flag}, expected a record (flag 0 or 1)")
    frames = [(first, length)]
    while flag != _LAST:
        at = stop
        flag, length = _frame(read(at, FRAME_BYTES), at, end)
        if flag not in (_MIDDLE, _LAST):
            raise Damaged(
                f"at byte {at} is flag {flag}, expected the next part (flag 2 or 3) of the record at {offset}"
            )
        frames.append((at + FRAME_BYTES, length))
        stop = at + FRAME_BYTES + -(-length // 4) * 4
    return Record(offset, stop, tuple(frames), head)


def content_of(read: Read, record: Record) -> bytes:
    """The content of a record, joined if it was divided."""
    parts = [read(offset, length) for offset, length in record.frames]
    if any(len(part) != length for part, (_, length) in zip(parts, record.frames, strict=True)):
        raise Damaged(f"the record at byte {record.offset} ends beyond the file; it is not complete")
    return MAGIC.join(parts)


def _frame(head: bytes, offset: int, end: int) -> tuple[int, int]:
    """Flag and length of the frame at `offset`, which begins with `head`; `end` is that of the file."""
    if len(head) < FRAME_BYTES and (not head or MAGIC.startswith(head[: len(MAGIC)])):
        raise Damaged(f"the file ends at byte {end}, inside the frame at byte {offset}; it is not complete")
    if not head.startswith(MAGIC):
        raise Damaged(f"no record at byte {offset}: found {head[:4].hex(' ')}, expected {MAGIC.hex(' ')}")
    (word,) = struct.unpack_from("<I", head, len(MAGIC))
    flag, length = word >> _FLAG_BITS, word & (1 << _FLAG_BITS) - 1
    if offset + FRAME_BYTES + -(-length // 4) * 4 > end:
        raise Damaged(
            f"the record at byte {offset} has {length} bytes, but the file ends at byte {end}; it is not complete"
        )
    return flag, length
