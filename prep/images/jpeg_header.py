"""What a JPEG says of itself before it is decoded: size, components, Adobe marker, EXIF orientation.

Reads only the segments before the first scan and trusts none of their lengths.
"""

from dataclasses import dataclass

from ...errors import InputError

SOI = b"\xff\xd8\xff"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_START_OF_SCAN, _END_OF_IMAGE, _APP1, _APP14 = 0xDA, 0xD9, 0xE1, 0xEE
_ORIENTATION_TAG, _SHORT = 0x0112, 3


@dataclass(frozen=True, kw_only=True, slots=True)
class JpegHeader:
    """Width and height in pixels as stored; `orientation` is EXIF's 1-8, 1 where there is none or it makes no sense."""

    width: int
    height: int
    num_components: int
    has_adobe_marker: bool
    orientation: int


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Read the header of a JPEG that starts with SOI; InputError says in one line what is wrong with it."""
    frame: tuple[int, int, int] | None = None
    has_adobe_marker = False
    orientation = 1
    position = 2
    while True:
        if data[position : position + 1] != b"\xff":
            raise InputError(f"no JPEG marker at byte {position}")
        while data[position : position + 1] == b"\xff":
            position += 1
        if position >= len(data):
            raise InputError("JPEG ends inside its header")
        marker = data[position]
        position += 1
        if marker in _WITHOUT_LENGTH:
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            break
        length = int.from_bytes(data[position : position + 2], "big")
        segment = data[position + 2 : position + length]
        if length < 2 or len(segment) != length - 2:
            raise InputError("JPEG ends inside its header")
        if marker in _START_OF_FRAME:
            if len(segment) < 6:
                raise InputError("JPEG frame header is too short")
            frame = int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big"), segment[5]
        elif marker == _APP14 and segment.startswith(b"Adobe"):
            has_adobe_marker = True
        elif marker == _APP1 and segment.startswith(b"Exif\0\0"):
            orientation = exif_orientation(segment[6:])
        position += length
    if frame is None:
        raise InputError("JPEG without a frame header")
    width, height, num_components = frame
    if width == 0 or height == 0:
        raise InputError(f"JPEG header promises {width} x {height} pixels")
    return JpegHeader(
        width=width,
        height=height,
        num_components=num_components,
        has_adobe_marker=has_adobe_marker,
        orientation=orientation,
    )


def exif_orientation(tiff: bytes) -> int:
    """The orientation tag of the first directory of an EXIF block; 1 where it is absent or damaged."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1
    little = order == "little"

    def number(offset: int, size: int) -> int:
        return int.from_bytes(tiff[offset : offset + size], "little" if little else "big")

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if entry + 12 > len(tiff):
            return 1
        if number(entry, 2) == _ORIENTATION_TAG and number(entry + 2, 2) == _SHORT:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
