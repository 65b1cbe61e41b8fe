"""Handle signals as requests that are checked between steps: save, then exit."""

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
# Schedulers signal every process, and launchers forward the signals they get, so one request may arrive several times.
ONE_REQUEST_S = 5.0


class StopRequest:
    """Whether this process should save and exit: because of a signal, or because its parent process is gone."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        # Only under torchrun or `launch`, which set WORLD_SIZE; a process started by a shell may outlive the shell.
        self._parent = os.getppid() if "WORLD_SIZE" in os.environ else None

    def is_set(self) -> bool:
        """Whether to save and exit."""
        return self._asked_at is not None or (self._parent is not None and os.getppid() != self._parent)

    def hear(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal. Raises KeyboardInterrupt for a second request, one that arrives too late to be a copy."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            logger.warning(
                "stopping after this step and saving; press Ctrl-C again after %.0f s to exit at once, without saving",
                ONE_REQUEST_S,
            )
        elif time.monotonic() - self._asked_at > ONE_REQUEST_S:
            raise KeyboardInterrupt


def heard_signals() -> list[signal.Signals]:
    """The signals to handle: all of them, except SIGHUP if it is ignored, as under nohup.

    SIGINT is handled even if it is ignored: shells ignore it for background commands, which is not meant for training.
    """
    hangup_is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in SIGNALS if number != signal.SIGHUP or not hangup_is_ignored]


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Make SIGTERM, SIGHUP and Ctrl-C set a request, so that no step is interrupted.

    SIGHUP stays ignored if it was, as under nohup.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, stop.hear) for number in heard_signals()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
