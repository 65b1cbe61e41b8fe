"""The records of a TFRecord file, found by reading only their lengths.

A record is its length (8 bytes, little-endian), the length's checksum (4), the data, and their checksum (4). Checksums
are CRC-32C, masked as TensorFlow does. The length's is verified here, so that no wrong length is followed.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from crc32c import crc32c

from ....errors import InputError
from ...storage.by_offset import opened
from ...storage.window import Window

HEADER_BYTES, FOOTER_BYTES = 12, 4
_GZIP = b"\x1f\x8b"
_INFLATE = "python3 -c 'import sys, zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))'"
_CHUNK = 2**22


class Record(NamedTuple):
    """Where the data of a record are in its file."""

    offset: int
    num_bytes: int


def records_in(window: Window, path: Path) -> Iterator[Record]:
    """The records of a file, in order; raises InputError, naming the byte, where it is damaged or ends too early."""
    at, stop = 0, window.file_bytes
    while at < stop:
        header = window.read(at, HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            raise InputError(f"{path}: ends at byte {stop}, inside the header of a record; download it again")
        num_bytes, stated = struct.unpack("<QI", header)
        found = _masked(crc32c(header[:8]))
        if found != stated:
            _refuse_header(path, at, header, found, stated)
        missing = at + HEADER_BYTES + num_bytes + FOOTER_BYTES - stop
        if missing > 0:
            raise InputError(
                f"{path}: the record at byte {at} has {num_bytes} bytes, but the file lacks the last {missing} of it; "
                "download it again"
            )
        yield Record(at + HEADER_BYTES, num_bytes)
        at += HEADER_BYTES + num_bytes + FOOTER_BYTES


def damage_in(address: str | Path, record: Record) -> str | None:
    """What is wrong with the data of a record, which are read for this; None if they match their checksum."""
    checksum, at, stop = 0, record.offset, record.offset + record.num_bytes
    with opened(address) as file:
        while at < stop:
            chunk = file.read_at(at, min(_CHUNK, stop - at))
            if not chunk:
                return f"the file ends at byte {at}"
            checksum, at = crc32c(chunk, checksum), at + len(chunk)
        return _difference(checksum, file.read_at(stop, FOOTER_BYTES))


def damage_of(content: bytes) -> str | None:
    """What is wrong with the data of a record, which its stored checksum follows; None if they match."""
    return _difference(crc32c(memoryview(content)[:-FOOTER_BYTES]), content[-FOOTER_BYTES:])


def refuse_record(path: Path, record: Record) -> NoReturn:
    """Raise InputError for an undamaged record that is not an example."""
    raise InputError(
        f"{path}: the record at byte {record.offset - HEADER_BYTES} is not a tf.train.Example with features, the only "
        "records that are read; write the images to class folders, or as such examples"
    )


def _difference(checksum: int, stored: bytes) -> str | None:
    found, expected = _masked(checksum), int.from_bytes(stored, "little")
    return None if found == expected else f"checksum {found:08x}, expected {expected:08x}"


def _masked(checksum: int) -> int:
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _refuse_header(path: Path, at: int, header: bytes, found: int, stated: int) -> NoReturn:
    if at == 0 and (header.startswith(_GZIP) or _is_zlib(header)):
        is_gzip = header.startswith(_GZIP)
        raise InputError(
            f"{path}: a TFRecord file compressed by {'GZIP' if is_gzip else 'ZLIB'}, which cannot be read by offset; "
            "decompress all of them into another folder and pass that: mkdir plain; for f in *tfrec* *-of-*; do "
            f'{"gzip -dc" if is_gzip else _INFLATE} < "$f" > plain/"$f"; done'
        )
    raise InputError(
        f"{path}: the length of the record at byte {at} has checksum {found:08x}, expected {stated:08x}; "
        + ("not a TFRecord file, or damaged" if at == 0 else "the file is damaged: download it again")
    )


def _is_zlib(header: bytes) -> bool:
    return header[0] & 15 == 8 and int.from_bytes(header[:2], "big") % 31 == 0
