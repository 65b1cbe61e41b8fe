"""Loops that NumPy cannot say, compiled by Numba."""

from collections.abc import Callable
from typing import TypeVar, cast

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
