"""The square in the middle of an image."""

import numpy as np
from numpy.typing import NDArray


def central_square(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A view of the largest square in the middle of (H, W, 3): what statistics count, whatever is stored."""
    height, width = image_HWC.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image_HWC[top : top + side, left : left + side]
