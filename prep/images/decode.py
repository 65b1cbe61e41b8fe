"""Decodes untrusted bytes to an upright RGB image, or says in one line why not.

Pixels are uint8 RGB, height x width x 3. EXIF's orientation is applied; a damaged EXIF block is ignored. Transparent
images are composited over white. Samples of more than 8 bits keep their high byte; those of fewer are scaled to 0 to
255. Of an animation, the first frame is used. ICC profiles are ignored: pixels are taken as sRGB, as by the tools of
2012. CMYK and YCCK JPEGs: R = (255 - C)(255 - K) / 255; values count as inverted if there is an Adobe marker. Unless
lenient, images that a codec had to patch are refused.
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
    from .codecs.other_formats import decode_other  # a loader of JPEGs needs none of Pillow's codecs

    return decode_other(data, options)


def decode_rgb(data: bytes, *, lenient: bool = False) -> NDArray[np.uint8]:
    """The pixels from `decode_image`, a uint8 RGB image (H, W, 3); with `lenient`, damaged JPEGs are patched."""
    return decode_image(data, DecodeOptions(lenient=lenient)).image_HWC
