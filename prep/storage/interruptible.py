"""Calls that spend minutes outside Python, without making Ctrl-C wait for them."""

import threading
from collections.abc import Callable
from typing import TypeVar

LISTEN_S = 0.2

T = TypeVar("T")


def interruptible(call: Callable[[], T]) -> T:
    """What `call` gives or raises.

    The main thread alone runs signal handlers, between two lines of Python. So it waits, and another thread calls; one
    that is left behind by an interrupt ends with the process.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LISTEN_S)
    if errors:
        raise errors.pop()
    return results[0]
