"""Untrusted bytes to an upright RGB image, or one line that says why not.

Rules. Pixels: uint8 RGB, height x width x 3. Orientation: EXIF is applied, a damaged EXIF block is ignored. Alpha is
laid over white, 16 bits keep their high byte, the first frame of an animation counts, ICC profiles are ignored (pixels
are taken as sRGB, as the tools of 2012 did). CMYK and YCCK JPEG: R = (255 - C)(255 - K) / 255; values are taken as
inverted when an Adobe marker is present. Unless lenient, what a codec had to patch over is refused.
"""

import io
import warnings

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ...errors import InputError
from .jpeg_header import SOI, JpegHeader, read_jpeg_header

# 1 GiB at 12 bytes a pixel: 3 of pixels, 6 of a progressive JPEG's coefficients, 3 of an upright copy.
MAX_PIXELS = 2**30 // 12
# What Pillow raises for damaged data.
_PILLOW_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
    Warning,
    KeyError,
    IndexError,
    TypeError,
)
OTHER_FORMATS = ("PNG", "GIF", "BMP", "WEBP", "TIFF")


def decode_rgb(data: bytes, *, lenient: bool = False) -> NDArray[np.uint8]:
    """Decode an image file of any supported format to an upright uint8 RGB image (H, W, 3).

    With `lenient` damaged JPEG data is accepted as the codec patches it. Raises InputError with a one-line reason.
    """
    if not data:
        raise InputError("empty file")
    return _decode_jpeg(data, lenient=lenient) if data.startswith(SOI) else _decode_other(data)


def _decode_jpeg(data: bytes, *, lenient: bool) -> NDArray[np.uint8]:
    header = read_jpeg_header(data)
    _check_size(header.width, header.height)
    try:
        image = simplejpeg.decode_jpeg(data, "CMYK" if header.num_components == 4 else "RGB", strict=not lenient)
    except ValueError as error:
        raise InputError(str(error)) from None
    if header.num_components == 4:
        image = _rgb_from_cmyk(image, inverted=header.has_adobe_marker)
    return _upright(image, header)


def _rgb_from_cmyk(image_HWC: NDArray[np.uint8], *, inverted: bool) -> NDArray[np.uint8]:
    light = image_HWC if inverted else 255 - image_HWC
    product = light[..., :3].astype(np.uint16) * light[..., 3:]  # at most 255 * 255
    return ((product + np.uint16(127)) // np.uint16(255)).astype(np.uint8)


def _upright(image_HWC: NDArray[np.uint8], header: JpegHeader) -> NDArray[np.uint8]:
    if header.orientation == 1:
        return image_HWC
    turned = image_HWC.swapaxes(0, 1) if header.orientation >= 5 else image_HWC
    if header.orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if header.orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def _decode_other(data: bytes) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        # We check the size ourselves, and what Pillow only warns of is the codec's patching over.
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=OTHER_FORMATS) as image:
                _check_size(*image.size)
                image.load()
                return _rgb_from_pillow(image)
        except UnidentifiedImageError:
            raise InputError(f"not an image of a known format (it starts with {data[:8]!r})") from None
        except InputError:
            raise
        except _PILLOW_ERRORS as error:
            raise InputError(f"damaged image: {' '.join(str(error).split()) or type(error).__name__}") from None


def _rgb_from_pillow(image: Image.Image) -> NDArray[np.uint8]:
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        values = np.asarray(image)
        if int(values.min()) < 0 or int(values.max()) > 65535:
            raise InputError("integer pixels outside 0-65535")
        return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise InputError("floating-point pixels have no defined range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
    return np.array(image.convert("RGB"))


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(f"header promises {width} x {height} pixels, more than {MAX_PIXELS}")
