"""The order of an epoch: a pure function of (seed, epoch), the same on every rank, thread and restart.

`full` is a uniform permutation. `window` is for disks and networks on which random reads are slow: the stored samples
are divided into runs, the runs are shuffled, and then the samples of each window of WINDOW_RUNS runs are shuffled.
While one window is used, the next one is read in a few long pieces. Because shards were shuffled when they were
written, the only cost in mixing is that samples of one run share a batch more often than by chance; `meetings` measures
this.

`shards` is for sets in object stores: the runs are whole shards, and a window is WINDOW_SHARDS of them. Each shard is
used within one window of an epoch, and therefore fetched once per epoch even into a small cache.

`fixed` is the stored order in every epoch: the same minibatches each time, shuffled once, when the shards were written.
The code released in 2012 trained this way.
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

    Uses `RandomState` on raw Philox bits, because NumPy has frozen its shuffle (NEP 19): newer NumPy versions give the
    same order, which `Generator.permutation` does not promise. Raises InputError unless seed and epoch are in
    0..2**64-1.
    """
    order = np.arange(num_samples, dtype=np.int64)
    random_of(seed, epoch).shuffle(order)
    return order


def window_order(seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    """Every index once; each slice of WINDOW_SAMPLES entries consists of whole runs of RUN_SAMPLES stored neighbors.

    Only the run with the last stored sample may be shorter; the windows after it then start earlier.
    """
    random = random_of(seed, epoch)
    runs = np.arange(-(-num_samples // RUN_SAMPLES))
    random.shuffle(runs)
    order = (runs[:, None] * RUN_SAMPLES + np.arange(RUN_SAMPLES)).reshape(-1)
    for start in range(0, len(order), WINDOW_SAMPLES):
        random.shuffle(order[start : start + WINDOW_SAMPLES])
    return order[order < num_samples].astype(np.int64)


def shards_order(seed: int, epoch: int, first_sample_S: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every index once; the shards are shuffled, and then the samples of every WINDOW_SHARDS consecutive ones.

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
    """The fraction of samples that share their batch with another one of their run of RUN_SAMPLES, without the tail.

    Runs are defined in the same way for every order, so that results of different orders can be compared.
    """
    runs = np.sort((order // RUN_SAMPLES)[: len(order) // batch_size * batch_size].reshape(-1, batch_size), axis=1)
    same = runs[:, 1:] == runs[:, :-1]
    none = np.zeros((len(runs), 1), bool)
    return float((np.hstack([same, none]) | np.hstack([none, same])).mean())


def random_of(seed: int, epoch: int) -> np.random.RandomState:
    """A random generator for an epoch, the same in every version of NumPy. Raises InputError beyond 64 bits."""
    for name, value in (("seed", seed), ("epoch", epoch)):
        if not 0 <= value < 2**64:
            raise InputError(f"{name} must be in 0..2**64-1, got {value}")
    return np.random.RandomState(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
