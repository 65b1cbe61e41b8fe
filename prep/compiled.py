"""Loops that NumPy cannot say, compiled by Numba, and the threads that share them."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(kernel: Kernel) -> Kernel:
    """Machine code at the first call, without the interpreter's lock; array indices are not checked.

    The code is kept beside the source or in the user's cache, where one of them can be written, so that compiling takes
    its seconds once for a machine.
    """
    try:
        return cast(Kernel, njit(nogil=True, error_model="numpy", cache=True)(kernel))
    except RuntimeError:  # no place to keep it
        return cast(Kernel, njit(nogil=True, error_model="numpy")(kernel))


class Team:
    """Threads that share the rows of a compiled kernel."""

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="alexkit")

    def run(self, kernel: Callable[..., object], num_rows: int, *arguments: Any) -> None:
        """Call `kernel(*arguments, first, behind)` for parts of the rows, which together are all; wait for them."""
        bounds = [num_rows * i // self._num_threads for i in range(self._num_threads + 1)]
        parts = [
            self._threads.submit(kernel, *arguments, first, behind) for first, behind in itertools.pairwise(bounds)
        ]
        for part in parts:
            part.result()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()
