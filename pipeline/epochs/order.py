"""The order of an epoch: a pure function of (seed, epoch), the same on every rank, thread and restart.

`full` is a uniform permutation. `window` is for disks and networks that hate random reads: the stored samples are cut
into runs, the runs shuffled, and the samples of WINDOW_RUNS runs at a time shuffled among each other. So while one
window is used, the next one is read in a few long pieces. Because shards were shuffled when they were written, what it
costs in mixing is only that samples of one run meet in a batch more often than by chance; `meetings` measures it.

`shards` is for sets on object stores: the runs are whole shards, and a window is WINDOW_SHARDS of them. So each shard
is used within one window of an epoch, and fetched once however small the cache.

`fixed` is the stored order in every epoch: the same minibatches each time, shuffled once, when the shards were written.
So the released code of 2012 trained.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

Order = Literal["full", "window", "shards", "fixed"]

RUN_SAMPLES = 64  # about 2 MB of 256x256 JPEG: long enough to read at full speed
WINDOW_RUNS = 128
WINDOW_SAMPLES = RUN_SAMPLES * WINDOW_RUNS
WINDOW_SHARDS = 16


def full_order(seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    """A uniform permutation of 0..num_samples-1: every index once. O(n) time, 8 bytes per sample.

    `RandomState` over raw Philox bits, because NumPy has frozen its shuffle (NEP 19): a newer NumPy gives the same
    order, which `Generator.permutation` does not promise. Raises InputError unless seed and epoch are in 0..2**64-1.
    """
    order = np.arange(num_samples, dtype=np.int64)
    random_of(seed, epoch).shuffle(order)
    return order


def window_order(seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    """Every index once; each slice of WINDOW_SAMPLES entries holds whole runs of RUN_SAMPLES stored neighbors.

    Only the run that holds the last sample may be shorter, so that the windows after it start earlier.
    """
    random = random_of(seed, epoch)
    runs = np.arange(-(-num_samples // RUN_SAMPLES))
    random.shuffle(runs)
    order = (runs[:, None] * RUN_SAMPLES + np.arange(RUN_SAMPLES)).reshape(-1)
    for start in range(0, len(order), WINDOW_SAMPLES):
        random.shuffle(order[start : start + WINDOW_SAMPLES])
    return order[order < num_samples].astype(np.int64)


def shards_order(seed: int, epoch: int, first_sample_S: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every index once; the shards are shuffled, and the samples of WINDOW_SHARDS of them at a time among each other.

    Shard s holds the samples from `first_sample_S[s]` up to the next entry.
    """
    random = random_of(seed, epoch)
    starts, sizes = first_sample_S[:-1], np.diff(first_sample_S)
    shards = np.arange(len(sizes))
    random.shuffle(shards)
    order = np.empty(int(sizes.sum()), np.int64)
    end = 0
    for window in range(0, len(shards), WINDOW_SHARDS):
        start = end
        for shard in shards[window : window + WINDOW_SHARDS].tolist():
            order[end : end + sizes[shard]] = np.arange(starts[shard], starts[shard] + sizes[shard])
            end += int(sizes[shard])
        random.shuffle(order[start:end])
    return order


def meetings(order: NDArray[np.int64], batch_size: int) -> float:
    """The fraction of samples that meet another one of their run of RUN_SAMPLES in their batch; the tail is left out.

    Runs are counted the same whatever the order is made of, so that numbers of different orders can be compared.
    """
    runs = np.sort((order // RUN_SAMPLES)[: len(order) // batch_size * batch_size].reshape(-1, batch_size), axis=1)
    same = runs[:, 1:] == runs[:, :-1]
    none = np.zeros((len(runs), 1), bool)
    return float((np.hstack([same, none]) | np.hstack([none, same])).mean())


def random_of(seed: int, epoch: int) -> np.random.RandomState:
    """Random numbers for an epoch, the same in every version of NumPy. Raises InputError beyond 64 bits."""
    for name, value in (("seed", seed), ("epoch", epoch)):
        if not 0 <= value < 2**64:
            raise InputError(f"{name} must be in 0..2**64-1, got {value}")
    return np.random.RandomState(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
