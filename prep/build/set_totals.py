"""What a manifest says of all shards of a split together; added up by the threads that check the shards."""

import threading
from collections import Counter
from typing import NamedTuple

import numpy as np

from ..format.manifest import Patched, Quarantined
from ..format.originals import Originals
from ..format.shard import ShardEntry
from ..format.stats import PixelSums
from .shard_job import ShardResult


class _Facts(NamedTuple):
    """A shard's result without its rows and sums."""

    entry: ShardEntry | None
    quarantined: tuple[Quarantined, ...]
    patched: tuple[Patched, ...]
    warnings: dict[str, int]
    num_enlarged: int
    originals: Originals


class SetTotals:
    """Totals of finished shards with images of `size_px`; several threads may add at once, in any order."""

    def __init__(self, size_px: int) -> None:
        self._size_px = size_px
        self._facts: dict[int, _Facts] = {}
        self._sums: list[PixelSums] = []  # each is taken out while a thread adds to it
        self._lock = threading.Lock()

    def add(self, number: int, result: ShardResult) -> None:
        """Add the result of shard `number`; it can be freed afterwards."""
        with self._lock:
            total = self._sums.pop() if self._sums else PixelSums.zero(self._size_px)
        np.add(total.image_HWC, result.sums.image_HWC, out=total.image_HWC)
        total = PixelSums(
            num_images=total.num_images + result.sums.num_images,
            image_HWC=total.image_HWC,
            outer_CC=total.outer_CC + result.sums.outer_CC,
        )
        facts = _Facts(
            entry=result.written.entry if result.written else None,
            quarantined=result.quarantined,
            patched=result.patched,
            warnings=result.warnings,
            num_enlarged=result.num_enlarged,
            originals=result.originals,
        )
        with self._lock:
            self._sums.append(total)
            self._facts[number] = facts

    @property
    def sums(self) -> PixelSums:
        """Exact statistics of all images."""
        return sum(self._sums, PixelSums.zero(self._size_px))

    @property
    def shards(self) -> tuple[ShardEntry, ...]:
        """The shards that were written, in order."""
        return tuple(facts.entry for facts in self._in_order() if facts.entry)

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """Inputs that were not stored, by source."""
        return tuple(sorted((bad for facts in self._in_order() for bad in facts.quarantined), key=lambda x: x.source))

    @property
    def patched(self) -> tuple[Patched, ...]:
        """Images that were stored as the decoder patched them, by source."""
        return tuple(sorted((one for facts in self._in_order() for one in facts.patched), key=lambda x: x.source))

    @property
    def warnings(self) -> dict[str, int]:
        """Number of images by warning, in alphabetical order."""
        counts: Counter[str] = Counter()
        for facts in self._in_order():
            counts.update(facts.warnings)
        return dict(sorted(counts.items()))

    @property
    def num_enlarged(self) -> int:
        """Images that were enlarged."""
        return sum(facts.num_enlarged for facts in self._facts.values())

    @property
    def originals(self) -> Originals:
        """Sizes and aspect ratios of the source images."""
        return sum((facts.originals for facts in self._in_order()), Originals())

    def _in_order(self) -> list[_Facts]:
        return [self._facts[number] for number in sorted(self._facts)]
