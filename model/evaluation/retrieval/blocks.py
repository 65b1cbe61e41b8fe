"""Read rows of possibly memory-mapped arrays block by block, so that they are never entirely in memory."""

import mmap

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK_BYTES = 2**28
QUERY_ROWS = 1024


def floats(rows: NDArray[np.floating]) -> Tensor:
    """Convert rows to float32; contiguous, writable float32 rows share memory."""
    array = np.ascontiguousarray(rows, np.float32)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def give_back(array: NDArray[np.generic], start: int, end: int) -> None:
    """Let the system drop the memory pages of rows that were read; it reads them again when needed."""
    mapped = getattr(array, "_mmap", None)
    if not isinstance(mapped, mmap.mmap) or not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        return
    first = array.__array_interface__["data"][0] - np.frombuffer(mapped, np.uint8).__array_interface__["data"][0]
    row = array.strides[0]
    begin = -(-(first + start * row) // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (first + end * row) // mmap.PAGESIZE * mmap.PAGESIZE - begin
    if length > 0:
        mapped.madvise(mmap.MADV_DONTNEED, begin, length)
