"""The result of decoding: pixels, and what was unusual about them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """One decoded image, upright."""

    image_HWC: NDArray[np.uint8]
    """Pixels, uint8 RGB, height x width x 3."""
    size_hw: tuple[int, int]
    """Height and width of the whole image, upright; `image_HWC` has 1/`reduction` of them, rounded up."""
    reduction: int = 1
    """1, 2, 4 or 8: the factor by which a JPEG was reduced while it was decoded."""
    orientation: int = 1
    """The EXIF orientation that was applied, 1 to 8."""
    has_alpha: bool = False
    """Whether a transparent image was composited over white."""
    warnings: tuple[str, ...] = ()
    """Why the image is kept with a warning; each is one of a few fixed texts, so that they can be counted."""
    decoded_rows: float = 1.0
    """Fraction of rows whose pixels come from the data; below 1 only for a damaged JPEG kept with `lenient`."""
