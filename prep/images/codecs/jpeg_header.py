"""Reads a JPEG's header before it is decoded: size, components, sampling, Adobe marker, EXIF orientation.

Reads only the segments before the first scan and trusts none of their lengths.
"""

import re
from dataclasses import dataclass

from ....errors import InputError
from .exif import exif_orientation

SOI = b"\xff\xd8\xff"
END_OF_IMAGE = b"\xff\xd9"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Excludes an escaped byte 0xFF inside a scan, restart markers, which have no length, and fill bytes.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
START_OF_SCAN, _END, _APP1, _APP14, _JPEG_LS = 0xDA, 0xD9, 0xE1, 0xEE, 0xF7
_PROGRESSIVE = frozenset((0xC2, 0xCA))
_LOSSLESS = frozenset((0xC3, 0xCB))
_HIERARCHICAL = frozenset((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF))


@dataclass(frozen=True, kw_only=True, slots=True)
class JpegHeader:
    """The frame header of a JPEG, and information from the segments around it."""

    width: int
    """Pixels, as stored."""
    height: int
    """Pixels, as stored."""
    num_components: int
    """1 gray, 3 color, 4 CMYK or YCCK."""
    bits_per_sample: int
    """8, except in lossless JPEGs."""
    process: int
    """The frame's marker, 0xC0 to 0xCF."""
    sampling: tuple[tuple[int, int], ...]
    """Horizontal and vertical sampling factor of each component."""
    has_adobe_marker: bool
    """Whether there is an APP14 segment of Adobe's, which means that CMYK values are inverted."""
    orientation: int
    """EXIF's, 1 to 8; 1 if it is absent or invalid."""
    first_scan_components: int
    """Components in the first scan; fewer than all of them mean that more scans follow."""
    frame_offset: int
    """Where the frame header's marker is, in bytes from the start."""

    @property
    def is_lossless(self) -> bool:
        """Whether pixels are predicted instead of transformed."""
        return self.process in _LOSSLESS

    @property
    def is_sequential(self) -> bool:
        """Whether every scan holds all coefficients of its components."""
        return self.process not in _PROGRESSIVE and not self.is_lossless

    @property
    def may_have_many_scans(self) -> bool:
        """Whether a decoder reads more than one scan, each of them over the whole image."""
        return not self.is_sequential or self.first_scan_components < self.num_components

    @property
    def bytes_per_pixel(self) -> int:
        """Memory that an image needs per pixel: three copies of it, or one beside a progressive file's coefficients."""
        pixels = 4 if self.num_components == 4 else 3
        areas = [across * down for across, down in self.sampling]
        coefficients = -(-2 * sum(areas) // max(areas)) if self.process in _PROGRESSIVE else 0  # int16
        return pixels + max(6, coefficients)


def count_scans(data: bytes, frame_offset: int) -> int:
    """Number of scans from the frame header to the end marker, where a decoder stops, whatever follows."""
    num_scans, position = 0, frame_offset
    while (found := _MARKER.search(data, position)) is not None and found[0][1] != _END:
        num_scans += found[0][1] == START_OF_SCAN
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        position = found.end() + length
    return num_scans


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Read the header of a JPEG that starts with SOI; raises InputError, in one line, if it is invalid."""
    frame: bytes | None = None
    process = frame_offset = 0
    has_adobe_marker = False
    orientation = 1
    position = 2
    while True:
        if data[position : position + 1] != b"\xff":
            raise InputError(f"damaged JPEG: no marker at byte {position}")
        while data[position : position + 1] == b"\xff":
            position += 1
        if position >= len(data):
            raise InputError("damaged JPEG: ends inside its header")
        marker = data[position]
        position += 1
        if marker in _WITHOUT_LENGTH:
            continue
        if marker in (START_OF_SCAN, _END):
            break
        if marker == _JPEG_LS:
            raise InputError("JPEG-LS is not read; convert it")
        length = int.from_bytes(data[position : position + 2], "big")
        segment = data[position + 2 : position + length]
        if length < 2 or len(segment) != length - 2:
            raise InputError("damaged JPEG: ends inside its header")
        if marker in _START_OF_FRAME:
            if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
                raise InputError("damaged JPEG: frame header is too short")
            frame, process, frame_offset = segment, marker, position - 2
        elif marker == _APP14 and segment.startswith(b"Adobe"):
            has_adobe_marker = True
        elif marker == _APP1 and segment.startswith(b"Exif\0\0"):
            orientation = exif_orientation(segment)
        position += length
    if frame is None:
        raise InputError("damaged JPEG: no frame header")
    if process in _HIERARCHICAL:
        raise InputError("hierarchical JPEG is not read; convert it")
    width, height = int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
    if width == 0 or height == 0:
        raise InputError(f"JPEG header promises {width} x {height} pixels")
    sampling = tuple((frame[7 + 3 * i] >> 4, frame[7 + 3 * i] & 15) for i in range(frame[5]))
    if not sampling or not all(across and down for across, down in sampling):
        raise InputError("damaged JPEG: impossible sampling factors")
    if (process in _LOSSLESS and frame[0] > 8) or (process not in _LOSSLESS and frame[0] != 8):
        raise InputError(f"JPEG with {frame[0]} bits per sample is not read; convert it to 8 bits")
    return JpegHeader(
        width=width,
        height=height,
        num_components=frame[5],
        bits_per_sample=frame[0],
        process=process,
        sampling=sampling,
        has_adobe_marker=has_adobe_marker,
        orientation=orientation,
        first_scan_components=data[position + 2] if marker == START_OF_SCAN and position + 2 < len(data) else 0,
        frame_offset=frame_offset,
    )
