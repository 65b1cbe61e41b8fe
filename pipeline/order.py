"""The order of an epoch: a pure function of (seed, epoch), the same on every rank, thread and restart."""

import numpy as np
from numpy.typing import NDArray


def full_order(seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    """A uniform permutation of 0..num_samples-1: every index once. O(n) time, 8 bytes per sample.

    `RandomState` over raw Philox bits, because NumPy has frozen its shuffle (NEP 19): a newer NumPy gives the same
    order, which `Generator.permutation` does not promise. Raises ValueError unless seed and epoch are in 0..2**64-1.
    """
    for name, value in (("seed", seed), ("epoch", epoch)):
        if not 0 <= value < 2**64:
            raise ValueError(f"{name} must be in 0..2**64-1, got {value}")
    bits = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    order = np.arange(num_samples, dtype=np.int64)
    np.random.RandomState(bits).shuffle(order)
    return order
