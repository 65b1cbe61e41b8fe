"""Signals as requests that are heard between steps: save, then end."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Schedulers send a signal to every process, and launchers pass theirs on: copies of one request arrive one by one.
ONE_REQUEST_S = 5.0


class StopRequest:
    """Whether this process shall save and end: a signal has asked for it, or the process that started it is gone."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        # torchrun and `launch` say so; a process that a shell started may outlive it.
        self._parent = os.getppid() if "WORLD_SIZE" in os.environ else None

    def is_set(self) -> bool:
        """Whether to end."""
        return self._asked_at is not None or (self._parent is not None and os.getppid() != self._parent)

    def hear(self, number: int, frame: FrameType | None = None) -> None:
        """Take a signal; KeyboardInterrupt for a second request, later than copies of the first one come."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            logger.warning(
                "stopping after this step and saving; Ctrl-C again after %.0f s ends at once, without saving",
                ONE_REQUEST_S,
            )
        elif time.monotonic() - self._asked_at > ONE_REQUEST_S:
            raise KeyboardInterrupt


def heard_signals() -> list[signal.Signals]:
    """The signals to hear: all, but SIGHUP where it is ignored, as under nohup.

    Shells that start a command in the background ignore SIGINT for it, which nobody means for training.
    """
    hangup_is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in SIGNALS if number != signal.SIGHUP or not hangup_is_ignored]


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """A request that SIGTERM, SIGHUP or Ctrl-C sets, so that a step is never cut in two.

    SIGHUP stays ignored where it was, as under nohup.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may catch signals
        return
    before = {number: signal.signal(number, stop.hear) for number in heard_signals()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
