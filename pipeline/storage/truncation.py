"""Names the shard when a mapped shard is truncated, before the process ends, as it must.

Reading a mapped page past the end of its file raises SIGBUS in the thread that reads. The handler here looks up the
address among the mapped shards, writes one line to stderr, restores the previous action and returns; the read is
retried, and the process ends as it would have without the handler. The handler is Python code, which is safe here: the
reading threads of DALI and of compiled loops do not hold the GIL, and no thread that holds it waits for them.
"""

import ctypes
import os
import signal
import weakref
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...prep.storage import Location

_SA_SIGINFO = 4
_ADDRESS_OFFSET = 16  # of si_addr in the siginfo_t of 64-bit Linux


class _Action(ctypes.Structure):
    """struct sigaction of 64-bit Linux."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class _Mapped:
    """The shards of one mapped set, by address."""

    def __init__(
        self, data: NDArray[np.uint8], starts: NDArray[np.int64], paths: Sequence[Location], sizes: Sequence[int]
    ) -> None:
        self._data, self._base = weakref.ref(data), data.ctypes.data
        self._starts, self._paths, self._sizes = starts.tolist(), paths, sizes

    @property
    def is_there(self) -> bool:
        """Whether the array of its bytes is still alive."""
        return self._data() is not None

    def line(self, address: int) -> bytes:
        """The message for a read that failed at this address; empty if the address is not in this set."""
        shard = bisect_right(self._starts, address - self._base) - 1
        if shard < 0 or address - self._base - self._starts[shard] >= self._sizes[shard]:
            return b""
        path, expected = self._paths[shard], self._sizes[shard]
        if not isinstance(path, Path):
            return (
                f"{path}: its copy in the cache was truncated while it was in use, which ends this process\n".encode()
            )
        try:
            found = f"has {path.stat().st_size} bytes instead of {expected}"
        except OSError as error:
            found = f"cannot be read: {error.strerror}"
        return (
            f"{path}: {found}; it was truncated while it was in use, which ends this process; restore the shard with "
            "'alexprep repair SHARDS SOURCE'\n"
        ).encode()


_sets: list[_Mapped] = []
_earlier = _Action()


def watch(data: NDArray[np.uint8], starts: NDArray[np.int64], paths: Sequence[Location], sizes: Sequence[int]) -> None:
    """Name the shard if a read of `data` fails, until the array is deleted.

    Args:
        data: The bytes of all shards side by side.
        starts: Where each shard starts in `data`.
        paths: The shards' files, or addresses.
        sizes: The shards' sizes in bytes.
    """
    # Dead sets are removed here, not in a finalizer: Python discards a signal's KeyboardInterrupt raised in one.
    _sets[:] = [mapped for mapped in _sets if mapped.is_there]
    if not _sets:
        _install()
    _sets.append(_Mapped(data, starts, paths, sizes))


def _install() -> None:
    action = _Action(handler=ctypes.cast(_handler, ctypes.c_void_p).value, flags=_SA_SIGINFO)
    current = _Action()
    _libc.sigaction(signal.SIGBUS, None, ctypes.byref(current))
    if current.handler != action.handler:
        _libc.sigaction(signal.SIGBUS, ctypes.byref(action), ctypes.byref(_earlier))


def _on_bus_error(number: int, information: int, _context: int) -> None:
    address = ctypes.c_uint64.from_address(information + _ADDRESS_OFFSET).value
    for mapped in list(_sets):
        if mapped.is_there and (line := mapped.line(address)):
            os.write(2, line)
            break
    _libc.sigaction(number, ctypes.byref(_earlier), None)


_libc = ctypes.CDLL(None, use_errno=True)
_handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(_on_bus_error)
