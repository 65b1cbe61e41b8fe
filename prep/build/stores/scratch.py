"""Scratch folders of runs into stores: below TMPDIR, and gone with the next command after the last of their users."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...format.temporary import LOCK_NAME, is_held, remove_abandoned_folders, temporary_folder
from ...storage import StoreUrl

_PREFIX = "alexkit-out-"
_held: dict[Path, int] = {}


@contextmanager
def scratch_folder(url: StoreUrl) -> Iterator[Path]:
    """A new folder for a run into `url`."""
    remove_abandoned_folders(_PREFIX)
    with temporary_folder(f"{_PREFIX}{hashlib.sha256(str(url).encode()).hexdigest()[:16]}-") as folder:
        yield folder


def hold(folder: Path) -> None:
    """Have the scratch folder of a run here, where a worker of it may be on another machine, while this process lives.

    There all workers of the run share its lock, and the next run or worker on that machine removes what they left.
    """
    if folder in _held:
        return
    remove_abandoned_folders(_PREFIX)
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        if is_held(descriptor, folder):
            break
    _held[folder] = descriptor
