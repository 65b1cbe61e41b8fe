"""Sizes and shapes of the images before they were fitted: counts by bin, so that sets add up exactly."""

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field

SHORTER_PX = (1, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
"""Lower edges of the bins of the shorter side, pixels."""
ASPECTS = (0.0, 0.25, 0.5, 0.66, 0.74, 0.9, 1.1, 1.32, 1.45, 1.6, 2.0, 4.0)
"""Lower edges of the bins of width / height: 4:3 and 3:2 have bins of their own, and so do 3:4 and 2:3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Originals:
    """Numbers of source images, upright, by bin; empty bins are left out, and all bins if nothing is known."""

    shorter_px: dict[str, int] = field(default_factory=dict)
    """Images by the lower edge of their shorter side's bin, one of `SHORTER_PX`."""
    aspect: dict[str, int] = field(default_factory=dict)
    """Images by the lower edge of the bin of width / height, one of `ASPECTS`."""

    def __add__(self, other: "Originals") -> "Originals":
        """The sum of both counts."""
        return Originals(
            shorter_px=_sorted(Counter(self.shorter_px) + Counter(other.shorter_px)),
            aspect=_sorted(Counter(self.aspect) + Counter(other.aspect)),
        )


class OriginalsTally:
    """Counts images one by one."""

    def __init__(self) -> None:
        self._shorter_px: Counter[str] = Counter()
        self._aspect: Counter[str] = Counter()

    def add(self, size_hw: tuple[int, int]) -> None:
        """Count one image of this height and width, upright, both at least 1."""
        height, width = size_hw
        self._shorter_px[str(SHORTER_PX[bisect_right(SHORTER_PX, min(size_hw)) - 1])] += 1
        self._aspect[str(ASPECTS[bisect_right(ASPECTS, width / height) - 1])] += 1

    def total(self) -> Originals:
        """The counts so far."""
        return Originals(shorter_px=_sorted(self._shorter_px), aspect=_sorted(self._aspect))


def _sorted(counts: Counter[str]) -> dict[str, int]:
    """Sorted by bin, so that equal counts give equal bytes."""
    return dict(sorted(counts.items(), key=lambda pair: float(pair[0])))
