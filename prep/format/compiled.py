"""Loops that NumPy cannot express, compiled by Numba at their first call, and the threads that share them.

Numba is imported at the first call too: importing a loader or printing help does not take its half second.
"""

import contextlib
import functools
import itertools
import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

KernelType = TypeVar("KernelType", bound=Callable[..., object])
logger = logging.getLogger(__name__)


def compiled(kernel: KernelType) -> KernelType:
    """Compile to machine code at the first call; calls release the GIL, and array indices are not checked.

    The code is cached beside the source or in the user's cache folder, whichever is writable, so that each machine
    compiles only once. Several processes may compile the same kernel at once: each file is replaced as a whole.
    """
    return cast(KernelType, Kernel(kernel, nogil=True, error_model="numpy"))


def compiled_reassociated(kernel: KernelType) -> KernelType:
    """`compiled`, but products and sums may be fused and reordered, and divisions become products with reciprocals.

    The compiler can then use the processor's widest units; results differ in the last place between processors.
    Infinities and NaN keep their meaning. For numbers that are rounded afterward anyway, never for random draws.
    """
    fastmath = {"contract", "reassoc", "arcp", "nsz"}
    return cast(KernelType, Kernel(kernel, nogil=True, error_model="numpy", fastmath=fastmath))


class Kernel:
    """A function that Numba compiles at its first call, from Python or from another kernel."""

    def __init__(self, function: Callable[..., object], **options: Any) -> None:
        functools.update_wrapper(self, function)
        self._function, self._options = function, options
        self._lock = threading.Lock()
        self._dispatcher: Any = None

    def __call__(self, *arguments: Any) -> Any:
        return (self._dispatcher or self._compiler())(*arguments)

    def __getattr__(self, name: str) -> Any:
        # When one kernel calls another, Numba inspects it like one of its own functions.
        if name in ("_numba_type_", "targetoptions", "py_func", "signatures"):
            return getattr(self._compiler(), name)
        raise AttributeError(f"a compiled kernel has no attribute {name!r}")

    def _compiler(self) -> Any:
        """Numba's function. Its code is cached, or compiled at the first call for each combination of types."""
        with self._lock:
            if self._dispatcher is None:
                dispatcher = _numba().njit(**self._options)(self._function)
                # What `cache=True` does with Numba's own cache; there is no public way to choose another.
                dispatcher._cache = _new_cache(self._function)
                self._dispatcher = dispatcher
            return self._dispatcher


@functools.cache
def _numba() -> Any:
    """Numba, imported without SciPy's linear algebra: 0.1 to 0.3 s that no kernel needs.

    During its import, Numba only asks whether SciPy is installed. To compile a matrix product, in a user's own
    function, it still imports SciPy.
    """
    import numba
    from numba.np import linalg

    ask = getattr(linalg, "ensure_blas", None)
    if ask is not None and "scipy" in sys.modules and "numba.np.arraymath" not in sys.modules:
        linalg.ensure_blas = lambda: None
        try:
            from numba.np import arraymath

            arraymath.ensure_blas = ask  # type: ignore[attr-defined]
        finally:
            linalg.ensure_blas = ask
    return numba


def _new_cache(function: Callable[..., object]) -> Any:
    """Numba's cache for one function; it tolerates a full disk, and logs when compiling makes the user wait."""
    from numba.core.caching import FunctionCache, NullCache

    class Cache(FunctionCache):
        def load_overload(self, sig: Any, target_context: Any) -> Any:
            found = _load_kept(self, sig, target_context)
            if found is None:
                _say(f"it is cached in {self.cache_path}")
            return found

        def save_overload(self, sig: Any, data: Any) -> None:
            with contextlib.suppress(OSError):
                super().save_overload(sig, data)  # type: ignore[no-untyped-call]

    class Nowhere(NullCache):
        def load_overload(self, sig: Any, target_context: Any) -> None:
            _say("it cannot be cached, since no cache folder is writable: set NUMBA_CACHE_DIR to one that is")

    try:
        return Cache(function)  # type: ignore[no-untyped-call]
    except RuntimeError:  # no writable cache folder
        return Nowhere()


def _load_kept(cache: Any, sig: Any, target_context: Any) -> Any:
    """The code that `cache` holds for a signature, or None.

    Numba's own `load_overload` first registers everything it can compile, which takes a third of a second. Cached code
    needs only the runtime that it calls; the rest is registered when something must be compiled.
    """
    from numba.core.caching import FunctionCache
    from numba.core.runtime.nrt import rtsys

    if not hasattr(cache, "_load_overload"):  # another version of Numba
        return FunctionCache.load_overload(cache, sig, target_context)  # type: ignore[no-untyped-call]
    rtsys.initialize(target_context)
    with cache._guard_against_spurious_io_errors():
        return cache._load_overload(sig, target_context)


_said = threading.Event()


def _say(where: str) -> None:
    """Log, for the first kernel that this process compiles, that it takes some seconds."""
    if not _said.is_set():
        _said.set()
        logger.info("compiling code for this processor, which takes some seconds; %s", where)


class Team:
    """Threads that share the rows of a compiled kernel."""

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="alexkit")

    def run(self, kernel: Callable[..., object], num_rows: int, *arguments: Any) -> None:
        """Call `kernel(*arguments, first, behind)` for ranges of rows that together cover all; wait for them."""
        bounds = [num_rows * i // self._num_threads for i in range(self._num_threads + 1)]
        parts = [
            self._threads.submit(kernel, *arguments, first, behind) for first, behind in itertools.pairwise(bounds)
        ]
        for part in parts:
            part.result()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()
