"""Calls that spend minutes outside Python, without making Ctrl-C wait for them."""

import threading
from collections.abc import Callable
from typing import TypeVar

LISTEN_S = 0.2

T = TypeVar("T")


def interruptible(call: Callable[[], T]) -> T:
    """Return or raise what `call` does.

    Only the main thread runs signal handlers, and only while it executes Python code. So it waits while another thread
    runs the call; after an interrupt, that thread ends with the process.
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
