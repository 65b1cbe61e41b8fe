"""Removes damage that leaves every pixel of a JPEG intact, so that strict decoding can judge the rest.

libjpeg-turbo reports only the first of a file's warnings, so a harmless one may hide one that is not. Each kind below
is removed from the bytes; the file is kept if the rest decodes without any warning.
"""

from collections.abc import Iterator

from .jpeg_header import END_OF_IMAGE, START_OF_SCAN, JpegHeader

JFIF_REVISION = "unknown JFIF revision"
ADOBE_TRANSFORM = "unknown Adobe color transform"
ICC_MARKER = "bad ICC profile marker"
SCAN_PARAMETERS = "scan parameters of another kind of JPEG"
PADDING = "padding before the end marker"

_APP0, _APP2, _APP14 = 0xE0, 0xE2, 0xEE
_SWALLOWED = 4  # bytes before the end marker that a decoder reads ahead without warning
_MIN_PADDING = 2


def without_harmless_damage(data: bytes, header: JpegHeader) -> Iterator[tuple[bytes, tuple[str, ...]]]:
    """Versions of `data` without its harmless damage, to try in turn, each with the names of what was removed."""
    mended, kinds = _with_plain_header(data, header)
    if kinds:
        yield mended, kinds
    for padded in _without_padding(mended):
        yield padded, (*kinds, PADDING)


def _with_plain_header(data: bytes, header: JpegHeader) -> tuple[bytes, tuple[str, ...]]:
    kinds = []
    mended = bytearray(data)
    for marker, begin, end in _segments(data):
        segment = data[begin:end]
        if marker == _APP0 and segment.startswith(b"JFIF\0") and len(segment) >= 7 and segment[5] != 1:
            mended[begin + 5 : begin + 7] = b"\1\1"
            kinds.append(JFIF_REVISION)
        elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) >= 12 and segment[11] > 2:
            mended[begin + 11] = 2 if header.num_components == 4 else 1  # what decoders assume
            kinds.append(ADOBE_TRANSFORM)
        elif marker == _APP2 and segment.startswith(b"ICC_PROFILE\0"):
            mended[begin] = ord("-")  # no longer a profile: it shapes no pixel
            kinds.append(ICC_MARKER)
        elif marker == START_OF_SCAN and header.is_sequential and segment[-3:] != b"\0\x3f\0" and len(segment) >= 3:
            mended[end - 3 : end] = b"\0\x3f\0"
            kinds.append(SCAN_PARAMETERS)
    return bytes(mended), tuple(dict.fromkeys(kinds))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of the content of every segment, up to and including the first scan's."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD7:
            position += 1 if marker == 0xFF else 2
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        yield marker, position + 4, end
        if marker == START_OF_SCAN:
            return
        position = end


def _without_padding(data: bytes) -> Iterator[bytes]:
    """`data` with the run of one repeated byte before its end marker shortened; decoders read some of it ahead."""
    end = data.rfind(END_OF_IMAGE)
    if end < 1:
        return
    filler = data[end - 1 : end]
    content = data[:end].rstrip(filler)
    if filler == b"\xff" or end - len(content) < _MIN_PADDING:
        return
    for kept in (_SWALLOWED, _SWALLOWED // 2, 0):
        if end - len(content) > kept:
            yield content + filler * kept + data[end:]
