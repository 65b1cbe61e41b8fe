"""Fits an upright image to the square, or the whole image, that is stored."""

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..format.pixel_options import PixelOptions
from .decoded import Decoded
from .geometry import rescale_of
from .resize import resize

MAX_STORED_PIXELS = 2**26
MAX_STORED_SIDE = {"jpeg": 65_500, "webp": 16_383}
"""Longest side that the encoders of libjpeg-turbo and libwebp allow, pixels; else only `MAX_STORED_PIXELS` counts."""


def fit_image(image_HWC: NDArray[np.uint8], options: PixelOptions) -> NDArray[np.uint8]:
    """Rescale a uint8 image (H, W, 3) so that its shorter side is `options.size_px`, and crop the central square.

    With `fit="shorter"` the whole image is kept. An image of the right size keeps its pixels. Raises InputError if the
    result would be too large, and for a geometry that only sets of earlier versions have.
    """
    height, width = image_HWC.shape[:2]
    return fit_decoded(Decoded(image_HWC=image_HWC, size_hw=(height, width)), options)


def fit_decoded(decoded: Decoded, options: PixelOptions) -> NDArray[np.uint8]:
    """`fit_image` for an image that may have been reduced while it was decoded."""
    if options.geometry != "rescale-then-crop":
        raise InputError(
            f"geometry {options.geometry} is that of earlier versions and no longer supported; shard the images again"
        )
    height, width = decoded.size_hw
    rescale = rescale_of(
        height, width, size_px=options.size_px, crop=options.fit == "crop", reduction=decoded.reduction
    )
    new_height, new_width = rescale.crop_hw
    if new_height * new_width > MAX_STORED_PIXELS:
        raise InputError(
            f"{width} x {height} pixels would become {new_width} x {new_height}, more than {MAX_STORED_PIXELS}"
        )
    longest = MAX_STORED_SIDE.get(options.format, MAX_STORED_PIXELS)
    if max(new_height, new_width) > longest:
        raise InputError(
            f"{width} x {height} pixels would become {new_width} x {new_height}, but {options.format} allows {longest} "
            "per side"
        )
    return resize(decoded.image_HWC, rescale, options.filter)
