"""Raw memory addresses, and what makes each use of one safe. No other module of the pipeline computes with them."""

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

_MAP_FIXED = 0x10  # Linux; DALI runs nowhere else


def reserve(sizes: Sequence[int]) -> tuple[mmap.mmap, NDArray[np.int64]]:
    """A range of addresses with room for files of these sizes side by side, and where each starts in it.

    Reserved address space costs nothing; it reads as zeros until `map_file` puts something there. When the last view of
    the range is gone, Python unmaps it, and whatever files were put over it. Starts are multiples of the page size.
    """
    pages = [-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes]
    starts = np.cumsum([0, *pages])
    reserved = mmap.mmap(-1, max(int(starts[-1]), mmap.PAGESIZE), flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    return reserved, starts[:-1]


def map_file(address: int, path: str | Path, size: int) -> None:
    """Put the first `size` bytes of a file at `address`, read-only.

    Safe within a range that `reserve` gave and that is still alive: MAP_FIXED replaces pages of the reservation and
    nothing else. A file that is cut short while it is mapped still ends the process by SIGBUS.

    Raises InputError for a file shorter than `size`, and OSError when the system refuses.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Past the end of a shorter file every access would kill the process.
        if os.fstat(descriptor).st_size < size:
            raise InputError(f"{path}: shorter than the {size} bytes of the manifest; restore the shard")
        if size:
            _map_fixed(address, size, mmap.MAP_SHARED, descriptor, str(path))
    finally:
        os.close(descriptor)


def map_empty(address: int, size: int) -> None:
    """Take away what `map_file` put there, so that the addresses read as zeros; safe as `map_file` is.

    The caller sees to it that nobody reads there meanwhile.
    """
    if size:
        _map_fixed(address, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, "a shard's addresses")


def _map_fixed(address: int, size: int, flags: int, descriptor: int, what: str) -> None:
    if _mmap(address, size, mmap.PROT_READ, flags | _MAP_FIXED, descriptor, 0) != address:
        raise OSError(ctypes.get_errno(), f"mapping failed: {os.strerror(ctypes.get_errno())}", what)


def span(addresses_N: NDArray[np.int64], sizes_N: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """One array of bytes from the lowest to the highest of N allocations, and where each starts in it.

    Between the allocations lies memory that nobody may touch. Safe for a caller that reads only `sizes_N` bytes from
    each start, and only while it keeps the allocations alive: the array does not.
    """
    first, end = int(addresses_N.min()), int((addresses_N + sizes_N).max())
    return np.ctypeslib.as_array((ctypes.c_uint8 * (end - first)).from_address(first)), addresses_N - first


# The C function: Python's own keeps a file open for every mapping and cannot choose the address.
_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_size_t
_mmap.argtypes = [ctypes.c_size_t, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_longlong]
