"""Untrusted bytes to an upright RGB image, or one line that says why not.

Rules. Pixels: uint8 RGB, height x width x 3. Orientation: EXIF is applied, a damaged EXIF block is ignored. Alpha is
laid over white, samples of more than 8 bits keep their high byte, those of fewer are spread over 0 to 255, the first
frame of an animation counts, ICC profiles are ignored (pixels are taken as sRGB, as the tools of 2012 did). CMYK and
YCCK JPEG: R = (255 - C)(255 - K) / 255; values are taken as inverted when an Adobe marker is present. Unless lenient,
what a codec had to patch over is refused.
"""

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .codecs import SOI, decode_jpeg
from .decoded import Decoded
from .limits import DecodeOptions


def decode_image(data: bytes, options: DecodeOptions) -> Decoded:
    """Decode an image file of any supported format; raises InputError with a one-line reason."""
    if not data:
        raise InputError("empty file")
    if data.startswith(SOI):
        return decode_jpeg(data, options)
    from .codecs.other_formats import decode_other  # a loader of JPEGs does without Pillow's codecs

    return decode_other(data, options)


def decode_rgb(data: bytes, *, lenient: bool = False) -> NDArray[np.uint8]:
    """The pixels of `decode_image`, a uint8 RGB image (H, W, 3); with `lenient` damaged JPEGs are patched."""
    return decode_image(data, DecodeOptions(lenient=lenient)).image_HWC
