"""Decodes JPEGs strictly with libjpeg-turbo, which refuses data that its decoder would have to patch.

Kept with a warning: files whose damage leaves all pixels intact (`jpeg_harmless`), and files with a chroma subsampling
that libjpeg-turbo's simple interface does not support. Pillow decodes those but does not report corrupt data; OpenCV
does, and checks them first. With `lenient`, also files in which some rows are missing or damaged: their pixels are what
the decoder makes of them, the same every time.
"""

import io
import zlib

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from ....errors import InputError
from ..decoded import Decoded
from ..limits import MAX_SCANS, DecodeOptions
from .jpeg_harmless import without_harmless_damage
from .jpeg_header import END_OF_IMAGE, JpegHeader, count_scans, read_jpeg_header
from .messages import caught_messages

SECOND_DECODER = "unusual chroma subsampling, decoded by Pillow"
PATCHED = "damaged data, patched by the decoder"
_ROWS_AT_ONCE = 256


def decode_jpeg(data: bytes, options: DecodeOptions) -> Decoded:
    """Decode a JPEG that starts with SOI, and turn it upright; raises InputError with a one-line reason."""
    header = read_jpeg_header(data)
    options.check(header.width, header.height, header.bytes_per_pixel, "JPEG")
    num_scans = count_scans(data, header.frame_offset) if header.may_have_many_scans else 1
    if num_scans > MAX_SCANS:
        raise InputError(f"JPEG with {num_scans} scans, more than {MAX_SCANS}")
    reduction = _reduction(header, options)
    pixels, warnings, rows = _pixels(data, header, options, reduction)
    if header.bits_per_sample < 8:
        largest = 2**header.bits_per_sample - 1
        table = (np.arange(256) * 255 + largest // 2) // largest
        pixels = table.clip(0, 255).astype(np.uint8)[pixels]
    if header.num_components == 4:
        pixels = _rgb_from_cmyk(pixels, inverted=header.has_adobe_marker)
    size_hw = (header.height, header.width)
    return Decoded(
        image_HWC=upright(pixels, header.orientation),
        size_hw=size_hw[::-1] if header.orientation >= 5 else size_hw,
        reduction=reduction,
        orientation=header.orientation,
        warnings=warnings,
        decoded_rows=rows,
    )


def upright(image_HWC: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The image turned by EXIF's orientation, 1 to 8."""
    if orientation == 1:
        return image_HWC
    turned = image_HWC.swapaxes(0, 1) if orientation >= 5 else image_HWC
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def _reduction(header: JpegHeader, options: DecodeOptions) -> int:
    """The largest of 8, 4, 2 that leaves at least twice `size_px` on the shorter side; else 1."""
    if options.decode == "full" or header.is_lossless:
        return 1
    side = min(header.width, header.height)
    return next((factor for factor in (8, 4, 2) if side >= 2 * options.size_px * factor), 1)


def _pixels(
    data: bytes, header: JpegHeader, options: DecodeOptions, reduction: int
) -> tuple[NDArray[np.uint8], tuple[str, ...], float]:
    """Pixels as stored, RGB or CMYK; why they are kept with a warning; the fraction of rows that were decoded."""
    try:
        return _strictly(data, header, reduction), (), 1.0
    except InputError as error:
        first_error = error
    if "subsampling" in str(first_error):
        return _by_second_decoder(data, header, reduction)
    for mended, warnings in without_harmless_damage(data, header):
        try:
            return _strictly(mended, header, reduction), warnings, 1.0
        except InputError as error:
            if not options.lenient:
                continue
            first_error = error
    if not options.lenient:
        raise InputError(f"damaged JPEG: {first_error}")
    mended, warnings = next(without_harmless_damage(data, header), (data, ()))
    pixels, rows = _patched(mended, header, reduction)
    return pixels, (*warnings, PATCHED), rows


def _strictly(data: bytes, header: JpegHeader, reduction: int) -> NDArray[np.uint8]:
    return _by_turbojpeg(data, header, reduction, strict=True, buffer=None)


def _by_turbojpeg(
    data: bytes, header: JpegHeader, reduction: int, *, strict: bool, buffer: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    is_gray = header.num_components == 1 and header.is_lossless  # libjpeg-turbo does not convert these to RGB
    color = "CMYK" if header.num_components == 4 else "GRAY" if is_gray else "RGB"
    height, width = -(-header.height // reduction), -(-header.width // reduction)
    smaller = {"min_height": height, "min_width": width} if reduction > 1 else {}
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, color, strict=strict, buffer=buffer, **smaller)
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from None
    return np.repeat(pixels, 3, axis=2) if is_gray else pixels


def _by_second_decoder(
    data: bytes, header: JpegHeader, reduction: int
) -> tuple[NDArray[np.uint8], tuple[str, ...], float]:
    """Like `_pixels`, for a file with unusual subsampling; refused if pixels are damaged, even with `lenient`."""
    damage = _damage_seen_by_opencv(data)
    found: tuple[str, ...] = ()
    if damage:
        for mended, warnings in without_harmless_damage(data, header):
            if not _damage_seen_by_opencv(mended):
                data, found = mended, warnings
                break
        else:
            raise InputError(f"damaged JPEG: {damage}")
    return _by_pillow(data, reduction), (*found, SECOND_DECODER), 1.0


def _damage_seen_by_opencv(data: bytes) -> str | None:
    """What libjpeg-turbo reports about a file, through OpenCV; None if no damage.

    For 900 flipped bits in photographs, every verdict was that of strict decoding.
    """
    import cv2

    with caught_messages() as messages:
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:
            pixels = None
    return messages[0] or (None if pixels is not None else "OpenCV does not decode it")


def _by_pillow(data: bytes, reduction: int) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            mode = "L" if image.mode == "L" else "CMYK" if image.mode == "CMYK" else "RGB"
            if reduction > 1:
                image.draft(mode, (image.width // reduction, image.height // reduction))
            image.load()
            if image.mode == "CMYK":
                return 255 - np.asarray(image)  # Pillow inverts every CMYK JPEG; `_rgb_from_cmyk` decides
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"damaged JPEG: {' '.join(str(error).split())}") from None


def _patched(data: bytes, header: JpegHeader, reduction: int) -> tuple[NDArray[np.uint8], float]:
    """What the decoder makes of damaged data, and the fraction of rows that come from the data.

    A fatal error may be reported as a warning and leave memory unwritten, so two buffers with different initial values
    must come back equal. A row counts as decoded if it stays the same when other bytes follow where the data ends.
    """
    height, width = -(-header.height // reduction), -(-header.width // reduction)
    shape = (height, width, 4 if header.num_components == 4 else 3)
    buffers = [np.full(shape, fill, np.uint8) for fill in (0, 255)]
    for buffer in buffers:
        _by_turbojpeg(data, header, reduction, strict=False, buffer=buffer)
    if not np.array_equal(buffers[0], buffers[1]):
        raise InputError("damaged JPEG: the decoder gave up before the last row")
    end = data.rfind(END_OF_IMAGE)
    noise = np.random.default_rng(zlib.crc32(data)).integers(0, 255, 2**16, np.uint8).tobytes()  # contains no marker
    _by_turbojpeg(data[: end if end > 0 else None] + noise, header, reduction, strict=False, buffer=buffers[1])
    same_rows = (buffers[0] == buffers[1]).all(axis=(1, 2))
    return buffers[0], float(same_rows.mean())


def _rgb_from_cmyk(image_HWC: NDArray[np.uint8], *, inverted: bool) -> NDArray[np.uint8]:
    rgb_HWC = np.empty((*image_HWC.shape[:2], 3), np.uint8)
    for start in range(0, len(image_HWC), _ROWS_AT_ONCE):  # in parts, since products take 16 bits
        rows = image_HWC[start : start + _ROWS_AT_ONCE]
        light = rows if inverted else 255 - rows
        product = light[..., :3].astype(np.uint16) * light[..., 3:]  # at most 255 * 255
        rgb_HWC[start : start + _ROWS_AT_ONCE] = (product + np.uint16(127)) // np.uint16(255)
    return rgb_HWC
