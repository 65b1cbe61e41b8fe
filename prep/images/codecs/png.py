"""Reduces a PNG to the chunks that shape its pixels, and checks their checksums.

Text, color profiles, animation frames and the like shape no pixel: they are left out, whatever their content and size.
Compressed data is decompressed here once, to check its checksum, and passed on uncompressed.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from .exif import exif_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ANCILLARY_CHECKSUM = "failing checksum of a PNG chunk that shapes no pixel"
NO_END = "PNG without its end chunk"
TOO_MUCH_DATA = "PNG with more data than pixels"

_GRAY, _RGB = 0, 2  # color types in which one color may be transparent
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First pixel and step of Adam7's passes, horizontally and vertically.
_PASSES = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
_UNPACK_BYTES = 2**26  # larger images are only checked: decompressed, they would be in memory twice
_BLOCK = 65535  # of a stored deflate block


class PlainPng(NamedTuple):
    """The result of `plain_png`."""

    data: bytes
    """The PNG without chunks that shape no pixel, and without the chunk that `transparent` is from."""
    orientation: int
    """The EXIF orientation, 1 to 8."""
    warnings: tuple[str, ...]
    """Why it is kept with a warning."""
    depth: int
    """Bits per sample."""
    transparent: tuple[int, ...] | None
    """The samples, one or three, of the transparent color of a gray or RGB image; None if it has none."""


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels that the header promises, unchecked."""
    width, height = struct.unpack(">II", data[16:24].ljust(8, b"\0"))
    return width, height


def png_has_alpha(data: bytes) -> bool:
    """Whether the header promises an alpha channel, or a transparent color precedes the pixels."""
    return data[25:26] in (b"\4", b"\6") or b"tRNS" in data[: data.find(b"IDAT")]


def plain_png(data: bytes) -> PlainPng:
    """Remove what shapes no pixel from a PNG.

    Raises InputError for missing data and wrong checksums. The size in the header must have been checked before.
    """
    kept: list[bytes] = [SIGNATURE]
    pixel_data: list[bytes] = []
    warnings: list[str] = []
    orientation, header, transparent = 1, b"", None
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
            if kind == b"tRNS" and header[9:10] in (bytes([_GRAY]), bytes([_RGB])):
                transparent = _transparent(header, content)
                continue
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
    return PlainPng(b"".join(kept), orientation, tuple(dict.fromkeys(warnings)), header[8], transparent)


def _transparent(header: bytes, content: bytes) -> tuple[int, ...]:
    num_samples = _CHANNELS[header[9]]
    if len(content) != 2 * num_samples:
        raise InputError(f"damaged PNG: its tRNS chunk has {len(content)} bytes, expected {2 * num_samples}")
    # If samples have fewer than 16 bits, the lowest count.
    return tuple(value & (1 << header[8]) - 1 for value in struct.unpack(f">{num_samples}H", content))


def transparent_pixels(png: PlainPng, image_HWC: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which pixels of a PNG have the transparent color in all bits, as bool (H, W).

    Args:
        png: A PNG with such a color.
        image_HWC: Its pixels, uint8.
    """
    assert png.transparent is not None
    samples: NDArray[np.generic] | None = image_HWC
    color = [value * 255 // ((1 << png.depth) - 1) for value in png.transparent]
    if png.depth == 16:
        import cv2  # Pillow keeps the high bytes of RGB

        samples = cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_UNCHANGED)
        color = [*png.transparent[::-1]]  # OpenCV gives BGR
    if samples is None or samples.itemsize != (png.depth + 7) // 8 or samples.shape[:2] != image_HWC.shape[:2]:
        raise InputError("damaged PNG: OpenCV does not decode its 16 bits per sample")
    is_equal = samples.reshape(*samples.shape[:2], -1) == np.array(color, samples.dtype)
    return np.asarray(is_equal.all(axis=2), np.bool_)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind and content of every whole chunk, and whether its checksum is right."""
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
    """Bytes of all rows, each including its filter byte."""
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _CHANNELS.get(color, 4)
    passes = _PASSES if interlaced else ((0, 1, 0, 1),)
    total = 0
    for left, across, top, down in passes:
        columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
        total += rows * (1 + -(-columns * bits // 8)) if columns else 0
    return total


def _unpack(pixel_data: list[bytes], num_bytes: int) -> tuple[bytes | None, bool]:
    """The decompressed rows, None if they are too large to keep, and whether there are more than `num_bytes` bytes."""
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
        # All pixels are there; only the checksum after them is missing.
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
