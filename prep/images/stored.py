"""Decodes a stored image back to pixels and checks it against the options it was stored with. Needs no resizer."""

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..format.pixel_options import PixelOptions
from .codecs import SOI
from .codecs.png import SIGNATURE
from .decode import decode_image
from .limits import DecodeOptions


def decode_stored(data: bytes, options: PixelOptions) -> NDArray[np.uint8]:
    """The uint8 pixels (H, W, 3) of a stored image; raises InputError, in one line, if it does not match `options`."""
    if options.format == "raw":
        if len(data) != options.size_px**2 * 3:
            raise InputError(f"{len(data)} bytes, expected {options.size_px**2 * 3}")
        return np.frombuffer(data, np.uint8).reshape(options.size_px, options.size_px, 3)
    _check_format(data)
    decoded = decode_image(data, DecodeOptions())
    # Loaders return the pixels as they are in the file.
    if decoded.orientation != 1:
        raise InputError(f"EXIF orientation {decoded.orientation}, expected an image stored upright")
    if decoded.has_alpha:
        raise InputError("transparency, expected plain RGB or gray")
    image_HWC = decoded.image_HWC
    height, width = image_HWC.shape[:2]
    if min(height, width) != options.size_px or (options.fit == "crop" and height != width):
        expected = "square" if options.fit == "crop" else "on the shorter side"
        raise InputError(f"{width} x {height} pixels, expected {options.size_px} {expected}")
    return image_HWC


def _check_format(data: bytes) -> None:
    """Raise InputError for formats that loaders do not decode; like us, they tell the three formats by their bytes."""
    if data.startswith((SOI, SIGNATURE)):
        return
    from .codecs.other_formats import kind_of  # JPEG and PNG sets need none of Pillow's codecs

    kind = kind_of(data)
    if kind not in (None, "WebP"):
        raise InputError(f"{kind}, expected JPEG, PNG or WebP, which loaders decode")
