"""Memory for batches, used again as soon as nobody holds the batch any longer.

A float batch of 256 crops is 154 MB. Fresh memory of that size would come page by page from the system every time,
which takes as long as computing the batch.
"""

import contextlib
import mmap
import weakref

import numpy as np
import torch
from numpy.typing import NDArray


class Buffers:
    """Tensors of one shape and dtype; the memory of up to `most_kept` dropped ones waits for the next."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[np.generic], most_kept: int) -> None:
        self._shape, self._dtype = shape, dtype
        self._most_kept = most_kept
        self._free: list[NDArray[np.uint8]] = []

    def take(self) -> tuple[torch.Tensor, NDArray[np.generic]]:
        """A tensor with arbitrary content, and the same memory as an array."""
        memory = self._free.pop() if self._free else self._new()
        lent = memory.view(self._dtype).reshape(self._shape)
        # The tensor and all views of it hold `lent`, and `lent` alone: its end is the end of the batch.
        weakref.finalize(lent, self._give_back, memory).atexit = False
        return torch.from_numpy(lent), lent

    def _give_back(self, memory: NDArray[np.uint8]) -> None:
        if len(self._free) < self._most_kept:
            self._free.append(memory)

    def _new(self) -> NDArray[np.uint8]:
        num_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        mapped = mmap.mmap(-1, max(num_bytes, 1), flags=mmap.MAP_PRIVATE)
        with contextlib.suppress(OSError):  # a kernel without large pages
            mapped.madvise(mmap.MADV_HUGEPAGE)  # 74 pages instead of 37,632: fewer misses while it is written
        return np.frombuffer(mapped, np.uint8, num_bytes)
