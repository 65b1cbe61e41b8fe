"""Computes the crop that is stored: the shorter side is rescaled first, then the center cropped.

Sizes are rounded to whole pixels and crop offsets are integers, as in every tool that rescales and then crops. Both
steps are done in one pass, by mapping the crop back to a fractional box in the source.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescale:
    """A source of `source_hw` pixels, rescaled to `scaled_hw` and then cropped."""

    source_hw: tuple[int, int]
    """Height and width of the source as it was before any reduction."""
    scaled_hw: tuple[int, int]
    """Height and width of the whole image after rescaling."""
    offset_hw: tuple[int, int]
    """First row and column of the crop, in the rescaled image."""
    crop_hw: tuple[int, int]
    """Height and width of the crop."""
    reduction: int = 1
    """The factor by which the source was reduced while it was decoded; boxes are in reduced pixels."""

    @property
    def keeps_pixels(self) -> bool:
        """Whether nothing is rescaled."""
        return self.scaled_hw == self.source_hw and self.reduction == 1

    @property
    def shrinks(self) -> bool:
        """Whether the rescaled image has fewer pixels than the source."""
        return math.prod(self.scaled_hw) < math.prod(self.source_hw)

    def box(self, axis: int) -> tuple[float, float]:
        """Where the crop begins and ends along an axis (0: rows, 1: columns), in pixels of the (reduced) source."""
        source, scaled, offset = self.source_hw[axis] / self.reduction, self.scaled_hw[axis], self.offset_hw[axis]
        return offset * source / scaled, min(source, (offset + self.crop_hw[axis]) * source / scaled)

    def rows_read(self, axis: int, support: float) -> tuple[int, int]:
        """First and last + 1 source row (or column) that a filter reaching `support` target pixels reads."""
        source = self.source_hw[axis] / self.reduction
        begin, end = self.box(axis)
        reach = math.ceil(support * max(1.0, source / self.scaled_hw[axis])) + 1
        return max(0, math.floor(begin) - reach), min(math.ceil(source), math.ceil(end) + reach)


def rescale_of(height: int, width: int, *, size_px: int, crop: bool, reduction: int = 1) -> Rescale:
    """Rescale the shorter side of (height, width) to `size_px`; with `crop`, keep the central square of that side.

    Args:
        height: Height of the whole source before any reduction, pixels.
        width: Width of the same.
        size_px: Shorter side of the result, pixels.
        crop: Whether the central square is cropped.
        reduction: 1, 2, 4 or 8: the factor by which the source was reduced while it was decoded.
    """
    side = min(height, width)
    scaled_hw = (max(1, round(height * size_px / side)), max(1, round(width * size_px / side)))
    crop_hw = (size_px, size_px) if crop else scaled_hw
    return Rescale(
        source_hw=(height, width),
        scaled_hw=scaled_hw,
        offset_hw=((scaled_hw[0] - crop_hw[0]) // 2, (scaled_hw[1] - crop_hw[1]) // 2),
        crop_hw=crop_hw,
        reduction=reduction,
    )


def central_square(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A view of the largest central square of (H, W, 3): statistics are over this, whatever is stored."""
    height, width = image_HWC.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image_HWC[top : top + side, left : left + side]
