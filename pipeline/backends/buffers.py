"""Memory for batches, used again as soon as nobody holds the batch any longer.

A float batch of 256 crops is 154 MB. Fresh memory of that size would come page by page from the system every time,
which takes as long as computing the batch.
"""

import contextlib
import functools
import itertools
import mmap
import weakref
from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class _End(weakref.ref[Any]):
    """Of a batch, with the memory it had."""

    __slots__ = ("memory",)
    memory: NDArray[np.uint8]


class Buffers:
    """Tensors of one shape and dtype; the memory of up to `most_kept` dropped ones waits for the next."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[np.generic], most_kept: int) -> None:
        self._shape, self._dtype = shape, dtype
        self._free: deque[_End] = deque(maxlen=most_kept)
        self._lent: dict[int, tuple[_End, weakref.ref[Any]]] = {}
        self._numbers = itertools.count()

    def take(self) -> tuple[torch.Tensor, NDArray[np.generic]]:
        """A tensor with arbitrary content, and the same memory as an array."""
        memory = self._free.pop().memory if self._free else self._new()
        lent = memory.view(self._dtype).reshape(self._shape)
        # The tensor and all views of it hold `lent`, and `lent` alone: its end is the end of the batch. Both callbacks
        # are methods of containers: in a function Python would look for signals, and drop the KeyboardInterrupt of one.
        end, number = _End(lent, self._free.append), next(self._numbers)
        end.memory = memory
        self._lent[number] = end, weakref.ref(lent, functools.partial(self._lent.pop, number))
        return torch.from_numpy(lent), lent

    def _new(self) -> NDArray[np.uint8]:
        num_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        mapped = mmap.mmap(-1, max(num_bytes, 1), flags=mmap.MAP_PRIVATE)
        with contextlib.suppress(OSError):  # a kernel without large pages
            mapped.madvise(mmap.MADV_HUGEPAGE)  # 74 pages instead of 37,632: fewer misses while it is written
        return np.frombuffer(mapped, np.uint8, num_bytes)
