"""Memory for batches, reused once nothing refers to the batch any longer.

A float batch of 256 crops takes 154 MB. The system would provide new memory of that size page by page every time, which
takes as long as computing the batch.
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
    """A weak reference to a batch, which keeps the batch's memory for reuse."""

    __slots__ = ("memory",)
    memory: NDArray[np.uint8]


class Buffers:
    """Tensors of one shape and dtype. The memory of up to `most_kept` dropped tensors is kept for reuse."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[np.generic], most_kept: int) -> None:
        self._shape, self._dtype = shape, dtype
        self._free: deque[_End] = deque(maxlen=most_kept)
        self._lent: dict[int, tuple[_End, weakref.ref[Any]]] = {}
        self._numbers = itertools.count()

    def take(self) -> tuple[torch.Tensor, NDArray[np.generic]]:
        """A tensor with arbitrary content, and the same memory as an array."""
        memory = self._free.pop().memory if self._free else self._new()
        lent = memory.view(self._dtype).reshape(self._shape)
        # The tensor and all its views refer to `lent` and to nothing else: the batch ends when `lent` does. Both
        # callbacks are container methods: in a Python function, a signal's KeyboardInterrupt could be raised and lost.
        end, number = _End(lent, self._free.append), next(self._numbers)
        end.memory = memory
        self._lent[number] = end, weakref.ref(lent, functools.partial(self._lent.pop, number))
        return torch.from_numpy(lent), lent

    def _new(self) -> NDArray[np.uint8]:
        num_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        mapped = mmap.mmap(-1, max(num_bytes, 1), flags=mmap.MAP_PRIVATE)
        with contextlib.suppress(OSError):  # a kernel without huge pages
            mapped.madvise(mmap.MADV_HUGEPAGE)  # 74 pages instead of 37,632: fewer misses while it is written
        return np.frombuffer(mapped, np.uint8, num_bytes)
