"""Samples of several groups in fixed proportions, which hold across epochs.

The groups of a whole training run form one sequence, and each epoch is a slice of it. If counts were rounded for each
epoch separately, a group that is due less than half a sample per epoch would never appear.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .order import random_of


def totals(weights_G: NDArray[np.float64], num_samples: int) -> NDArray[np.int64]:
    """How many of the first `num_samples` samples belong to each group, int64 (G,), in proportion to its weight.

    Webster's method: sample j of a group has its turn at (j + 1/2) / weight; ties go to the lower group. Totals
    therefore add up to `num_samples`, none decreases as that grows, and every group with a weight above 0 appears.
    """
    weights_G = weights_G / weights_G.max()
    groups = np.flatnonzero(weights_G)
    weights = weights_G[groups]
    counts = np.floor(weights * (num_samples / weights.sum()) + 0.5)
    missing = num_samples - int(counts.sum())
    while True:
        turns, last_turns = (counts + 0.5) / weights, (counts - 0.5) / weights
        first, last = int(np.argmin(turns)), len(groups) - 1 - int(np.argmax(last_turns[::-1]))
        if missing == 0 and (turns[first], first) > (last_turns[last], last):
            totals_G = np.zeros(len(weights_G), np.int64)
            totals_G[groups] = counts
            return totals_G
        # Rounded quotients can be off by more than one. If none is missing, add one and then remove one.
        if missing >= 0:
            counts[first] += 1
            missing -= 1
        else:
            counts[last] -= 1
            missing += 1


def divides_evenly(weights_G: NDArray[np.float64], length: int) -> bool:
    """Whether every epoch of this length holds the same number of samples of each group."""
    parts_G = weights_G / weights_G.sum() * length
    return bool((np.abs(parts_G - np.round(parts_G)) < 1e-9).all())


def in_proportion(
    groups: Sequence[NDArray[np.int64]], weights_G: NDArray[np.float64], length: int
) -> Callable[[int, int], NDArray[np.int64]]:
    """An order that goes through permutations of each group, without a gap between epochs, and shuffles each epoch."""

    def order(seed: int, epoch: int) -> NDArray[np.int64]:
        starts, ends = (totals(weights_G, number * length).tolist() for number in (epoch, epoch + 1))
        parts = []
        for number, (group, start, end) in enumerate(zip(groups, starts, ends, strict=True)):
            if start == end:
                continue
            rounds = range(start // len(group), -(-end // len(group)))
            walks = [random_of(seed, (number + 1) * 2**32 + turn).permutation(group) for turn in rounds]
            first = start - rounds[0] * len(group)
            parts.append(np.concatenate(walks)[first : first + end - start])
        whole = np.concatenate(parts)
        random_of(seed, epoch).shuffle(whole)
        return whole

    return order
