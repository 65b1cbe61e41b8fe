"""One run per folder: a lock that names its owner and dies with it."""

import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import InputError
from ..format.files import lock_where_possible
from ..workers import refuse_while_main_is_imported

log = logging.getLogger(__name__)


@contextmanager
def exclusive_lock(path: Path, *, doing: str) -> Iterator[None]:
    """Hold the lock file `path` for the block; InputError names the owner when another process holds it.

    Its folder is created if needed. The system drops the lock when its owner ends in whatever way, so a dead owner's
    lock is simply taken over. The block may remove the file and its folder with `remove_work`, as its last act. Where
    the disk has no locks a warning says so: two runs at once write the same bytes, and the one that ends last may find
    the other's work removed.
    """
    refuse_while_main_is_imported()  # the lock's owner would be the process that waits for us
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)  # its owner may have removed it
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
        with suppress(OSError):  # only an empty folder: what `remove_work` could not remove while the lock was open
            path.parent.rmdir()


def remove_work(work: Path) -> None:
    """Remove the folder of an unfinished run, even if another process is removing it or adding to it.

    NFS and FUSE keep a removed file under another name, in its folder, until it is closed: there the folder remains
    until the lock in it is closed.
    """
    for _ in range(3):
        with suppress(OSError):
            shutil.rmtree(work)


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
