"""Turns one source image into one stored image: decode, rescale the shorter side to `size_px`, crop or not, encode.

Stored images are plain RGB without metadata, so that any decoder reads them. This includes gray sources: gray JPEGs
would decode to the same pixels, but readers that do not ask for RGB would get another shape, to save 2 % of the bytes
of 2 % of the images (9 of 500 photographs of ImageNet, 606 of 26,122 bytes each).
"""

import contextlib
import io
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from ..format.pixel_options import PixelOptions
from .codecs import PATCHED
from .decode import decode_image
from .fit import fit_decoded
from .limits import DecodeOptions


class Prepared(NamedTuple):
    """One image as it is stored."""

    image_HWC: NDArray[np.uint8]
    """Pixels before encoding, uint8 RGB, height x width x 3."""
    encoded: bytes
    """The bytes that are stored."""
    warnings: tuple[str, ...]
    """Why it is kept with a warning; each is one of a few fixed texts."""
    decoded_rows: float
    """Fraction of its rows that come from its data; below 1 only for a damaged JPEG kept with `lenient`."""
    was_enlarged: bool
    """Whether its shorter side had fewer pixels than are stored."""
    original_hw: tuple[int, int]
    """Height and width of the source image, upright."""

    @property
    def was_patched(self) -> bool:
        """Whether the decoder had to make up for damaged data."""
        return PATCHED in self.warnings


def prepare_image(data: bytes, options: PixelOptions) -> Prepared:
    """Decode, fit and encode an image file.

    Raises InputError with a one-line reason if the input is bad.
    """
    decoded = decode_image(data, decode_options(options))
    image_HWC = fit_decoded(decoded, options)
    return Prepared(
        image_HWC=image_HWC,
        encoded=encode_image(image_HWC, options),
        warnings=decoded.warnings,
        decoded_rows=decoded.decoded_rows,
        was_enlarged=min(decoded.size_hw) < options.size_px,
        original_hw=decoded.size_hw,
    )


def decode_options(options: PixelOptions) -> DecodeOptions:
    """The part of `options` that concerns decoding."""
    return DecodeOptions(
        lenient=options.lenient, decode=options.decode, size_px=options.size_px, max_pixels=options.max_pixels
    )


def encode_image(image_HWC: NDArray[np.uint8], options: PixelOptions) -> bytes:
    """Encode a uint8 RGB image (H, W, 3) in `options.format`."""
    if options.format == "jpeg":
        encoded: bytes = simplejpeg.encode_jpeg(
            image_HWC, quality=options.quality, colorspace="RGB", colorsubsampling=options.chroma
        )
        return encoded
    if options.format == "raw":
        return image_HWC.tobytes()
    buffer = io.BytesIO()
    Image.fromarray(image_HWC).save(buffer, "PNG")
    return buffer.getvalue()


def software_versions() -> dict[str, str]:
    """Versions of the installed libraries that shape a stored pixel, by distribution."""
    versions = {}
    for name in ("cykooz-resizer", "opencv-python-headless", "pillow", "simplejpeg"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
