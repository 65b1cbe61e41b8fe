"""A folder of this machine for one run into a store, which does not outlive the run, or is removed by the next one."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...format.files import lock_file
from ...storage import StoreUrl

_LOCK_NAME = "lock"


@contextmanager
def scratch_folder(url: StoreUrl) -> Iterator[Path]:
    """A new folder below TMPDIR for a run into `url`; removed at the end, with those of runs that were killed."""
    prefix = f"alexkit-out-{hashlib.sha256(str(url).encode()).hexdigest()[:16]}-"
    _remove_abandoned(prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    descriptor = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        lock_file(descriptor, folder / _LOCK_NAME)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_abandoned(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError), (folder / _LOCK_NAME).open("rb") as file:
            lock_file(file, folder / _LOCK_NAME, wait=False)  # its owner, when it lives, holds it
            shutil.rmtree(folder, ignore_errors=True)
