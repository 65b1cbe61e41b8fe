"""Which part of which enlarged or reduced image is stored: the shorter side is rescaled first, then the center cut out.

Sizes are rounded to whole pixels and crop offsets are integers, as in every tool that rescales and then crops; the two
steps are computed in one pass, by mapping the crop back to a fractional box in the source.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescale:
    """A source of `source_hw` pixels rescaled to `scaled_hw`, of which the rows and columns of the crop are wanted."""

    source_hw: tuple[int, int]
    """Height and width of the source."""
    scaled_hw: tuple[int, int]
    """Height and width of the whole image after rescaling."""
    offset_hw: tuple[int, int]
    """First row and column of the crop, in the rescaled image."""
    crop_hw: tuple[int, int]
    """Height and width of the crop."""

    @property
    def shrinks(self) -> bool:
        """Whether the rescaled image has fewer pixels than the source."""
        return math.prod(self.scaled_hw) < math.prod(self.source_hw)

    def box(self, axis: int) -> tuple[float, float]:
        """Where the crop begins and ends in the source along an axis (0: rows, 1: columns), in source pixels."""
        source, scaled, offset = self.source_hw[axis], self.scaled_hw[axis], self.offset_hw[axis]
        return offset * source / scaled, min(float(source), (offset + self.crop_hw[axis]) * source / scaled)

    def rows_read(self, axis: int, support: float) -> tuple[int, int]:
        """First and last + 1 source row (or column) that a filter reaching `support` target pixels reads."""
        source, scaled = self.source_hw[axis], self.scaled_hw[axis]
        begin, end = self.box(axis)
        reach = math.ceil(support * max(1.0, source / scaled)) + 1
        return max(0, math.floor(begin) - reach), min(source, math.ceil(end) + reach)


def rescale_of(height: int, width: int, *, size_px: int, crop: bool) -> Rescale:
    """The shorter side of (height, width) becomes `size_px`; with `crop` the central square of that side is kept."""
    side = min(height, width)
    scaled_hw = (max(1, round(height * size_px / side)), max(1, round(width * size_px / side)))
    crop_hw = (size_px, size_px) if crop else scaled_hw
    return Rescale(
        source_hw=(height, width),
        scaled_hw=scaled_hw,
        offset_hw=((scaled_hw[0] - crop_hw[0]) // 2, (scaled_hw[1] - crop_hw[1]) // 2),
        crop_hw=crop_hw,
    )
