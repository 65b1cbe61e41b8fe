"""When an epoch first and last uses each shard: a pure function of its order, so every rank finds the same."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEVER = np.iinfo(np.int64).max
_ROWS = 2**20  # of an order at a time: a few megabytes, however large the set


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lifetimes:
    """Positions count the samples of one epoch, all replicas together."""

    first_S: NDArray[np.int64]
    """Position of the first sample of each shard, `NEVER` for a shard that the epoch does not use."""
    last_S: NDArray[np.int64]
    """Position of the last one; -1 for a shard that the epoch does not use."""
    by_first_use: NDArray[np.int64]
    """The shards, sorted by their first use."""

    @classmethod
    def of(cls, order_N: NDArray[np.int64], first_sample_S: NDArray[np.int64]) -> "Lifetimes":
        """For an epoch that uses the samples `order_N`. Shard s starts at `first_sample_S[s]`; its last entry is N."""
        num_shards = len(first_sample_S) - 1
        first_S, last_S = np.full(num_shards, NEVER), np.full(num_shards, -1, np.int64)
        for start in range(0, len(order_N), _ROWS):
            shards = np.searchsorted(first_sample_S, order_N[start : start + _ROWS], side="right") - 1
            # For repeated indices, NumPy keeps the last assignment.
            last_S[shards] = np.arange(start, start + len(shards))
            new = np.flatnonzero(first_S[shards] == NEVER)[::-1]
            first_S[shards[new]] = start + new
        return cls(first_S=first_S, last_S=last_S, by_first_use=np.argsort(first_S, kind="stable"))

    def wanted(self, position: int, count: int) -> list[int]:
        """The next `count` shards that are used at or after `position`, the earliest first."""
        alive = self.by_first_use[self.last_S[self.by_first_use] >= position]
        return [int(shard) for shard in alive[:count]]
