"""One run per folder: a lock that names its owner and dies with it."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import InputError
from ..format.files import lock_where_possible
from ..workers import refuse_while_main_is_imported

log = logging.getLogger(__name__)


@contextmanager
def exclusive_lock(path: Path, *, doing: str) -> Iterator[None]:
    """Hold the lock file `path` for the block; InputError names the owner when another process holds it.

    The system drops the lock when its owner ends in whatever way, so a dead owner's lock is simply taken over. The
    block may remove the file, as its last act. Where the disk has no locks a warning says so: two runs at once write
    the same bytes, and the one that ends last may find the other's work removed.
    """
    refuse_while_main_is_imported()  # the lock's owner would be the process that waits for us
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            has_locks = lock_where_possible(descriptor, path, wait=False)
        except BlockingIOError:
            owner = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            raise InputError(
                f"{path.parent.parent}: {owner} is {doing} there; wait for it or name another folder"
            ) from None
        if not has_locks:
            log.warning("%s: this disk has no file locks; see to it that nobody else is %s", path.parent.parent, doing)
        if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
            break
        os.close(descriptor)  # its owner removed it between our open and our lock
    try:
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except OSError as error:  # a full disk
            raise OSError(error.errno, error.strerror, str(path)) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the block, after whoever holds it now.

    Where a file system's locks hold within one machine only, one process of each machine has it at a time; where it has
    none, every process.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        lock_where_possible(descriptor, path)
        yield
    finally:
        os.close(descriptor)
