"""Catches what C libraries write to stderr while they decode: it may report damage."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Descriptor 2 belongs to the whole process: two threads that replace it at the same time would leave it replaced.
_lock = threading.Lock()


@contextmanager
def caught_messages() -> Iterator[list[str]]:
    """Keep this block from writing to stderr; after the block, the list holds what it wrote, as one text."""
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
