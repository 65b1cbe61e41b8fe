"""What C libraries write to the terminal while they decode: kept from it, and read where it tells of damage."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Descriptor 2 belongs to the whole process: two threads that exchange it at once would leave it exchanged.
_lock = threading.Lock()


@contextmanager
def caught_messages() -> Iterator[list[str]]:
    """Inside this block nothing is written to stderr; what would have been is in the list behind it, as one text."""
    messages: list[str] = []
    with _lock, tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        terminal = os.dup(2)
        try:
            os.dup2(caught.fileno(), 2)
            yield messages
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
        caught.seek(0)
        messages += [" ".join(caught.read(10_000).decode(errors="replace").split())]
