"""One owner per run folder: an exclusive lock, which the system releases however its owner exits."""

import contextlib
import json
import logging
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from ...errors import InputError
from ...prep.format.files import lock_where_possible

LOCK = ".lock"

log = logging.getLogger(__name__)


class RunLock:
    """Lock `folder`, creating it if necessary. Raises InputError naming the owner if another process holds the lock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK
        self._made = [path for path in (folder, folder.parent) if not path.exists()]
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+")
            try:
                self._take()
            except BaseException:
                self._file.close()
                raise
            try:
                if os.fstat(self._file.fileno()).st_ino == self.path.stat().st_ino:
                    break
            except FileNotFoundError:
                pass  # removed by an owner that exited in between
            self._file.close()
        try:
            self._sign()
        except OSError as error:  # a full disk
            self.release()
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def _sign(self) -> None:
        self._file.truncate(0)
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
        self._file.write(json.dumps(owner))
        self._file.flush()

    def _take(self) -> None:
        try:
            has_locks = lock_where_possible(self._file.fileno(), self.path, wait=False)
        except BlockingIOError:
            raise InputError(
                f"{self.folder}: {self._owner()} is training this run; wait for it, or choose another --name"
            ) from None
        if not has_locks:
            log.warning(
                "%s: this file system has no locks; make sure that no other process trains this run", self.folder
            )

    def _owner(self) -> str:
        self._file.seek(0)
        try:
            owner = json.loads(self._file.read())
            return f"process {int(owner['pid'])} on {owner['host']} (since {owner['since']})"
        except (ValueError, KeyError, TypeError):
            return "another process"

    def release(self) -> None:
        """Release the lock, and remove the folders that were created for it if they are still empty."""
        if self._file.closed:
            return
        with contextlib.suppress(OSError):  # on a disk that has become read-only, whose own error is the one to show
            self.path.unlink()  # while it is still ours
        with contextlib.suppress(OSError):  # close() retries a write that failed on a full disk
            self._file.close()
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:  # not empty
                break
