"""Folders below TMPDIR that do not outlive their process: what a killed one leaves goes with the next one."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .files import lock_file, lock_where_possible

LOCK_NAME = ".lock"  # beside what the folder is for, and no part of it


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder whose name begins with `prefix`; removed at the end, with those of processes that were killed.

    A lock in it says that its owner lives; where TMPDIR has no locks nothing is taken for abandoned.
    """
    remove_abandoned_folders(prefix)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        if is_held(descriptor, folder):
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def is_held(descriptor: int, folder: Path) -> bool:
    """Take the folder's lock together with all others that use it; False, and closed, if it was removed meanwhile.

    Users share the lock, so this waits only for a process that is removing the folder as abandoned.
    """
    lock_where_possible(descriptor, folder / LOCK_NAME, shared=True)
    if (folder / LOCK_NAME).exists():
        return True
    os.close(descriptor)
    return False


def remove_abandoned_folders(prefix: str) -> None:
    """Remove the folders below TMPDIR that begin with `prefix` and whose users are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        # NFS gives an exclusive lock only for a file that is open for writing.
        with contextlib.suppress(OSError), (folder / LOCK_NAME).open("r+b") as file:
            lock_file(file, folder / LOCK_NAME, wait=False)  # fails while any user of the folder is alive
            shutil.rmtree(folder, ignore_errors=True)
