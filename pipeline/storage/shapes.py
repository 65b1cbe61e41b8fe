"""Heights and widths of stored images, read from their headers: a few hundred bytes of each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...prep.format.compiled import compiled
from .samples import Stored


def stored_shapes(data: NDArray[np.uint8], images: Stored, default_px: int) -> NDArray[np.int64]:
    """Heights and widths in px, int64 (B, 2), of JPEG and PNG images.

    If a header has none, both are `default_px`: the decoder will report what is wrong.
    """
    shapes_B2 = np.full((len(images.starts_B), 2), default_px, np.int64)
    _read_shapes(data, images.starts_B, images.sizes_B, shapes_B2)
    return shapes_B2


@compiled
def _read_shapes(
    data: NDArray[np.uint8], starts: NDArray[np.int64], sizes: NDArray[np.int32], shapes: NDArray[np.int64]
) -> None:
    for i in range(len(starts)):
        image = data[starts[i] : starts[i] + sizes[i]]
        height, width = np.int64(0), np.int64(0)
        if len(image) > 24 and image[0] == 0x89 and image[1] == 0x50:  # PNG: IHDR comes first
            width, height = _number(image, 16, 4), _number(image, 20, 4)
        elif len(image) > 4 and image[0] == 0xFF and image[1] == 0xD8:  # JPEG: look for a start of frame
            position = np.int64(2)
            while position + 9 < len(image) and image[position] == 0xFF:
                marker = image[position + 1]
                if marker == 0xFF:  # a fill byte
                    position += 1
                    continue
                if 0xC0 <= marker <= 0xCF and marker != 0xC4 and marker != 0xC8 and marker != 0xCC:
                    height, width = _number(image, position + 5, 2), _number(image, position + 7, 2)
                    break
                position += 2 + _number(image, position + 2, 2)
        if height > 0 and width > 0:
            shapes[i, 0], shapes[i, 1] = height, width


@compiled
def _number(image: NDArray[np.uint8], position: Any, length: int) -> Any:
    """A big-endian number of `length` bytes."""
    total = np.int64(0)
    for i in range(length):
        total = 256 * total + np.int64(image[position + i])
    return total
