"""One source image to one stored image: decode, shorter side to `size_px`, central square, encode.

The central square is cut first and resized after: the same pixels as resizing first, to within half a source pixel,
for half of the work. Stored images are plain RGB without metadata, so that any decoder reads them.
"""

import io
from importlib.metadata import version

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from .decode import decode_rgb
from .manifest import PixelOptions
from .resize import resize


def prepare_image(data: bytes, options: PixelOptions) -> tuple[NDArray[np.uint8], bytes]:
    """Decode `data` and return the uint8 image (size, size, 3) as it was before encoding, and its encoded bytes.

    Raises ValueError with a one-line reason when the input is bad.
    """
    image_HWC = fit_image(decode_rgb(data, strict=options.strict), options)
    return image_HWC, encode_image(image_HWC, options)


def fit_image(image_HWC: NDArray[np.uint8], options: PixelOptions) -> NDArray[np.uint8]:
    """The central square of a uint8 image (H, W, 3), resized to (size, size, 3)."""
    height, width = image_HWC.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image_HWC[top : top + side, left : left + side]
    if side == options.size_px:
        return np.ascontiguousarray(square)
    return resize(square, options.size_px, options.size_px, options.filter)


def encode_image(image_HWC: NDArray[np.uint8], options: PixelOptions) -> bytes:
    """Encode a uint8 RGB image (H, W, 3) as `options.codec` says."""
    if options.codec == "jpeg":
        encoded: bytes = simplejpeg.encode_jpeg(
            image_HWC, quality=options.quality, colorspace="RGB", colorsubsampling=options.chroma
        )
        return encoded
    if options.codec == "raw":
        return image_HWC.tobytes()
    buffer = io.BytesIO()
    Image.fromarray(image_HWC).save(buffer, "PNG")
    return buffer.getvalue()


def decode_stored(data: bytes, options: PixelOptions) -> NDArray[np.uint8]:
    """The uint8 pixels (H, W, 3) of a stored image; ValueError says in one line why it is not one of ours."""
    if options.codec == "raw":
        if len(data) != options.size_px**2 * 3:
            raise ValueError(f"{len(data)} bytes, expected {options.size_px**2 * 3}")
        return np.frombuffer(data, np.uint8).reshape(options.size_px, options.size_px, 3)
    image_HWC = decode_rgb(data)
    if image_HWC.shape[:2] != (options.size_px, options.size_px):
        raise ValueError(f"{image_HWC.shape[1]} x {image_HWC.shape[0]} pixels, expected {options.size_px} square")
    return image_HWC


def software_versions() -> dict[str, str]:
    """The libraries that shape a stored pixel, and their versions."""
    libraries = ("cykooz-resizer", "opencv-python-headless", "pillow", "simplejpeg")
    return {name: version(name) for name in libraries}
