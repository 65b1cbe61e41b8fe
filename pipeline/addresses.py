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


def map_side_by_side(paths: Sequence[Path], sizes: Sequence[int]) -> tuple[mmap.mmap, NDArray[np.int64]]:
    """All files as one read-only map, and where each starts in it (a multiple of the page size).

    Safe because every file lands inside one range of addresses that this process has just reserved: MAP_FIXED replaces
    pages of the reservation and nothing else, and unmapping the reservation, which Python does when the last view of it
    is gone, unmaps the files too. A file that is cut short while it is mapped still ends the process by SIGBUS.

    Raises InputError for a file shorter than its size, and OSError when the system refuses.
    """
    pages = [-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes]
    starts = np.cumsum([0, *pages])
    # Reserved address space costs nothing.
    reserved = mmap.mmap(-1, max(int(starts[-1]), mmap.PAGESIZE), flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    base = np.frombuffer(reserved, np.uint8).ctypes.data
    for path, start, size in zip(paths, starts.tolist(), sizes, strict=False):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            # Past the end of a shorter file every access would kill the process.
            if os.fstat(descriptor).st_size < size:
                raise InputError(f"{path}: shorter than the {size} bytes of the manifest; restore the shard")
            flags = mmap.MAP_SHARED | _MAP_FIXED
            if size and _map_file(base + start, size, mmap.PROT_READ, flags, descriptor, 0) != base + start:
                raise OSError(ctypes.get_errno(), f"mapping failed: {os.strerror(ctypes.get_errno())}", str(path))
        finally:
            os.close(descriptor)
    return reserved, starts[:-1]


def span(addresses_N: NDArray[np.int64], sizes_N: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """One array of bytes from the lowest to the highest of N allocations, and where each starts in it.

    Between the allocations lies memory that nobody may touch. Safe for a caller that reads only `sizes_N` bytes from
    each start, and only while it keeps the allocations alive: the array does not.
    """
    first, end = int(addresses_N.min()), int((addresses_N + sizes_N).max())
    return np.ctypeslib.as_array((ctypes.c_uint8 * (end - first)).from_address(first)), addresses_N - first


# The C function: Python's own keeps a file open for every mapping and cannot choose the address.
_map_file = ctypes.CDLL(None, use_errno=True).mmap
_map_file.restype = ctypes.c_size_t
_map_file.argtypes = [ctypes.c_size_t, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_longlong]
