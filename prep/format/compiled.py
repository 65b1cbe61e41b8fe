"""Loops that NumPy cannot say, compiled by Numba, and the threads that share them."""

import contextlib
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache

Kernel = TypeVar("Kernel", bound=Callable[..., object])


class _Cache(FunctionCache):
    """Numba's cache, for which a full disk is no reason to stop."""

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def compiled(kernel: Kernel) -> Kernel:
    """Machine code at the first call, without the interpreter's lock; array indices are not checked.

    The code is kept beside the source or in the user's cache, where one of them can be written, so that compiling takes
    its seconds once for a machine.
    """
    return _compiled(kernel, fastmath=False)


def compiled_reassociated(kernel: Kernel) -> Kernel:
    """`compiled`, where products and sums may be fused and reordered, and a division become a reciprocal and a product.

    The compiler can then use the processor's widest units; results differ in the last place from one processor to
    another. Infinities and NaN keep their meaning. For numbers that are rounded afterwards anyway, never for draws.
    """
    return _compiled(kernel, fastmath={"contract", "reassoc", "arcp", "nsz"})


def inlined(helper: Kernel) -> Kernel:
    """A helper of compiled kernels, copied into each of them: calls cost as much as 50 numbers' arithmetic."""
    return cast(Kernel, njit(inline="always")(helper))


def _compiled(kernel: Kernel, *, fastmath: bool | set[str]) -> Kernel:
    dispatcher: Any = njit(nogil=True, error_model="numpy", fastmath=fastmath)(kernel)
    with contextlib.suppress(RuntimeError):  # no place to keep it
        # What `cache=True` does with Numba's own; there is no public way to choose another.
        dispatcher._cache = _Cache(kernel)  # type: ignore[no-untyped-call]
    return cast(Kernel, dispatcher)


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
