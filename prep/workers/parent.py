"""Processes that do not outlive the one that started them, also when that is killed."""

import ctypes
import os
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int, signal_number: int) -> Callable[[], None]:
    """What a child of process `parent` must call first: from then on, on Linux, its parent's end sends it the signal.

    All is looked up here, so that between fork and exec as little as possible is done.
    """
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def ask() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # it ended before we could ask
            os._exit(1)

    return ask
