"""Folders below TMPDIR that do not outlive their command: what a killed one leaves goes with the next one."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...format.files import lock_file, lock_where_possible
from ...storage import StoreUrl

LOCK_NAME = ".lock"  # beside what the run makes, and no part of it


_PREFIX = "alexkit-out-"
_held: dict[Path, int] = {}


@contextmanager
def scratch_folder(url: StoreUrl) -> Iterator[Path]:
    """A new folder for a run into `url`."""
    _remove_abandoned(_PREFIX)
    with temporary_folder(f"{_PREFIX}{hashlib.sha256(str(url).encode()).hexdigest()[:16]}-") as folder:
        yield folder


def hold(folder: Path) -> None:
    """Have the scratch folder of a run here, where a worker of it may be on another machine, while this process lives.

    There all workers of the run share its lock, and the next run or worker on that machine removes what they left.
    """
    if folder in _held:
        return
    _remove_abandoned(_PREFIX)
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        if _is_held(descriptor, folder):
            break
    _held[folder] = descriptor


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder whose name begins with `prefix`; removed at the end, with those of processes that were killed.

    A lock in it says that its owner lives; where TMPDIR has no locks nothing is taken for abandoned.
    """
    _remove_abandoned(prefix)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        if _is_held(descriptor, folder):
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _is_held(descriptor: int, folder: Path) -> bool:
    """Take the folder's lock together with all others that use it; False, and closed, if it was removed meanwhile.

    Users share the lock, so this waits only for a process that is removing the folder as abandoned.
    """
    lock_where_possible(descriptor, folder / LOCK_NAME, shared=True)
    if (folder / LOCK_NAME).exists():
        return True
    os.close(descriptor)
    return False


def _remove_abandoned(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        # NFS gives an exclusive lock only for a file that is open for writing.
        with contextlib.suppress(OSError), (folder / LOCK_NAME).open("r+b") as file:
            lock_file(file, folder / LOCK_NAME, wait=False)  # fails while any user of the folder is alive
            shutil.rmtree(folder, ignore_errors=True)
