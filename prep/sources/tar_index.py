"""Where the members of an uncompressed tar lie: headers only, read by offset, nested tars included.

`tarfile` takes three times as long for each of 1.28 million members. Nothing is unpacked, no path is followed.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...errors import InputError

BLOCK = 512
_PLAIN = (b"0", b"\0", b"7")
_LONG_NAME, _PAX, _PAX_GLOBAL = b"L", b"x", b"g"
MAX_NAME_BYTES = 2**16


class Member(NamedTuple):
    """A file in a tar: its whole name, and where its content lies in the outermost file."""

    name: str
    offset: int
    num_bytes: int


def tar_members(descriptor: int, path: Path, start: int, stop: int) -> Iterator[Member]:
    """The files of the tar that lies at bytes [start, stop) of an open file.

    Folders and links are passed over. Raises InputError naming `path` and the byte where it is no tar.
    """
    position, long_name = start, None
    while position + BLOCK <= stop:
        header = os.pread(descriptor, BLOCK, position)
        if not header.strip(b"\0"):
            return
        checksum = 8 * ord(" ") + sum(header) - sum(header[148:156])
        if len(header) != BLOCK or _octal(header[148:156]) != checksum:
            raise InputError(f"{path}: no tar header at byte {position}; the archive is damaged or not complete")
        size, kind = _octal(header[124:136]), header[156:157]
        offset = position + BLOCK
        if size is None or offset + size > stop:
            raise InputError(f"{path}: the member at byte {position} ends behind the archive; it is not complete")
        if kind in (_LONG_NAME, _PAX) and size <= MAX_NAME_BYTES:
            content = os.pread(descriptor, size, offset)
            long_name = content.rstrip(b"\0") if kind == _LONG_NAME else _pax_path(content)
        elif kind in _PLAIN:
            name = header[:100].rstrip(b"\0") if long_name is None else long_name
            yield Member(name.decode("utf-8", "surrogateescape"), offset, size)
            long_name = None
        elif kind != _PAX_GLOBAL:
            long_name = None
        position = offset + -(-size // BLOCK) * BLOCK
    raise InputError(f"{path}: ends at byte {stop} without the end mark of a tar; it is not complete")


def _octal(field: bytes) -> int | None:
    if field[:1] == b"\x80":  # GNU: a binary number, for members of 8 GiB and more
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None


def _pax_path(content: bytes) -> bytes | None:
    for line in content.split(b"\n"):
        _, _, record = line.partition(b" ")
        if record.startswith(b"path="):
            return record[5:]
    return None
