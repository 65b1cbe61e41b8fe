"""Child processes that do not outlive their parent, even if it is killed."""

import ctypes
import os
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int, signal_number: int) -> Callable[[], None]:
    """A function for a child of process `parent` to call first; on Linux, the child is then signaled if `parent` ends.

    All lookups happen here, so that as little as possible is done between fork and exec.
    """
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def ask() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # it ended before the call to prctl
            os._exit(1)

    return ask
