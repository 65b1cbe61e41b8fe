"""A PNG reduced to what shapes its pixels, every checksum of which is right.

Text, color profiles, animation frames and the like shape no pixel: they are left out, whatever they hold, however long.
Compressed data is unpacked here once, to check its sum, and handed on unpacked.
"""

import struct
import zlib
from collections.abc import Iterator

from ....errors import InputError
from .exif import exif_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ANCILLARY_CHECKSUM = "failing checksum of a PNG chunk that shapes no pixel"
NO_END = "PNG without its end chunk"
TOO_MUCH_DATA = "PNG with more data than pixels"

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First pixel and step of Adam7's passes, across and down.
_PASSES = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
_UNPACK_BYTES = 2**26  # larger images are only checked: unpacked they would be held twice
_BLOCK = 65535  # of a stored deflate block


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels that the header promises, unchecked."""
    width, height = struct.unpack(">II", data[16:24].ljust(8, b"\0"))
    return width, height


def png_has_alpha(data: bytes) -> bool:
    """Whether the header promises an alpha channel, or a transparent color precedes the pixels."""
    return data[25:26] in (b"\4", b"\6") or b"tRNS" in data[: data.find(b"IDAT")]


def plain_png(data: bytes) -> tuple[bytes, int, tuple[str, ...]]:
    """The PNG without what shapes no pixel, its EXIF orientation, and why it is kept with a warning.

    Raises InputError for data that is missing, or whose checksum is wrong. The header's size must have been checked.
    """
    kept: list[bytes] = [SIGNATURE]
    pixel_data: list[bytes] = []
    warnings: list[str] = []
    orientation, header = 1, b""
    for kind, content, is_whole in _chunks(data):
        if kind == b"IEND":
            break
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT"):
            if not is_whole:
                raise InputError(f"damaged PNG: checksum of its {kind.decode()} chunk is wrong")
            if kind == b"IDAT":
                pixel_data.append(content)
                continue
            if kind == b"IHDR":
                header = content
            kept.append(_chunk(kind, content))
        elif kind[:1].isupper():
            raise InputError(f"PNG with a {kind.decode('ascii', 'replace')} chunk is not read; convert it")
        elif not is_whole:
            warnings.append(ANCILLARY_CHECKSUM)
        elif kind == b"eXIf":
            orientation = exif_orientation(content)
    else:
        warnings.append(NO_END)
    if len(header) != 13 or not pixel_data:
        raise InputError("damaged PNG: no header" if len(header) != 13 else "damaged PNG: no pixels")
    num_bytes = _unpacked_bytes(header)
    unpacked, has_more = _unpack(pixel_data, num_bytes)
    if has_more:
        warnings.append(TOO_MUCH_DATA)
    if unpacked is None:
        kept += [_chunk(b"IDAT", content) for content in pixel_data]
    else:
        kept.append(_chunk(b"IDAT", b"".join(_stored(unpacked))))
    kept.append(_chunk(b"IEND", b""))
    return b"".join(kept), orientation, tuple(dict.fromkeys(warnings))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind, content and whether the checksum is right, of every whole chunk."""
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(data):
            return
        kind, content = data[position + 4 : position + 8], data[position + 8 : end]
        yield kind, content, zlib.crc32(content, zlib.crc32(kind)) == int.from_bytes(data[end : end + 4], "big")
        position = end + 4


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join(
        (struct.pack(">I", len(content)), kind, content, struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))
    )


def _unpacked_bytes(header: bytes) -> int:
    """Bytes of all rows, each with its filter's byte."""
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _CHANNELS.get(color, 4)
    passes = _PASSES if interlaced else ((0, 1, 0, 1),)
    total = 0
    for left, across, top, down in passes:
        columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
        total += rows * (1 + -(-columns * bits // 8)) if columns else 0
    return total


def _unpack(pixel_data: list[bytes], num_bytes: int) -> tuple[bytes | None, bool]:
    """The unpacked rows, None when there are too many to hold, and whether more than `num_bytes` are packed."""
    unpacker, parts, total = zlib.decompressobj(), [], 0
    try:
        for content in pixel_data:
            while content and not unpacker.eof:
                part = unpacker.decompress(content, 2**22)
                content = unpacker.unconsumed_tail
                total += len(part)
                if num_bytes <= _UNPACK_BYTES:
                    parts.append(part)
                if total > num_bytes:
                    return (b"".join(parts)[:num_bytes] if parts else None), True
    except zlib.error as error:
        raise InputError(f"damaged PNG: {error}") from None
    if total < num_bytes:
        raise InputError(f"damaged PNG: {total} bytes of pixels, expected {num_bytes}")
    if not unpacker.eof:
        # All pixels are there; only the checksum that ends them is not.
        raise InputError("damaged PNG: its pixels end before their checksum")
    return (b"".join(parts) if parts else None), False


def _stored(content: bytes) -> Iterator[bytes]:
    """`content` as a zlib stream of stored blocks."""
    yield b"\x78\x01"
    for begin in range(0, len(content), _BLOCK):
        block = content[begin : begin + _BLOCK]
        is_last = begin + _BLOCK >= len(content)
        yield struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF)
        yield block
    yield struct.pack(">I", zlib.adler32(content))
