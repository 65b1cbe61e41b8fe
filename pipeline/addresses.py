"""Mapping files to raw memory addresses and reading there, with the conditions under which each use is safe."""

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
    """Reserve a range of addresses for files of these sizes side by side. Returns it and where each file starts in it.

    Reserved address space costs no memory and reads as zeros until `map_file` maps a file there. When the last view of
    the range is gone, Python unmaps it together with the files in it. Starts are multiples of the page size.
    """
    pages = [-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes]
    starts = np.cumsum([0, *pages])
    reserved = mmap.mmap(-1, max(int(starts[-1]), mmap.PAGESIZE), flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    return reserved, starts[:-1]


def map_file(address: int, path: str | Path, size: int) -> None:
    """Map the first `size` bytes of a file at `address`, read-only.

    Safe within a range from `reserve` that is still alive: MAP_FIXED replaces pages of the reservation and nothing
    else. A file that is truncated while it is mapped still ends the process with SIGBUS.

    Raises InputError for a file shorter than `size`, and OSError if the system refuses the mapping.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Past the end of a shorter file every access would kill the process.
        if os.fstat(descriptor).st_size < size:
            raise InputError(f"{path}: shorter than the {size} bytes that the manifest lists; restore the shard")
        if size:
            _map_fixed(address, size, mmap.MAP_SHARED, descriptor, str(path))
    finally:
        os.close(descriptor)


def map_empty(address: int, size: int) -> None:
    """Undo `map_file`, so that the addresses read as zeros; safe under the same conditions.

    The caller must ensure that nothing reads there meanwhile.
    """
    if size:
        _map_fixed(address, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, "a shard's addresses")


def _map_fixed(address: int, size: int, flags: int, descriptor: int, what: str) -> None:
    if _mmap(address, size, mmap.PROT_READ, flags | _MAP_FIXED, descriptor, 0) != address:
        raise OSError(ctypes.get_errno(), f"mapping failed: {os.strerror(ctypes.get_errno())}", what)


def span(addresses_N: NDArray[np.int64], sizes_N: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """One array of bytes from the lowest to the highest of N allocations, and where each starts in it.

    The memory between the allocations must not be touched. Safe for a caller that reads only `sizes_N` bytes from each
    start, and only while it keeps the allocations alive: the array does not.
    """
    first, end = int(addresses_N.min()), int((addresses_N + sizes_N).max())
    return np.ctypeslib.as_array((ctypes.c_uint8 * (end - first)).from_address(first)), addresses_N - first


# The C function: Python's mmap keeps a file open for every mapping and cannot choose the address.
_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_size_t
_mmap.argtypes = [ctypes.c_size_t, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_longlong]
