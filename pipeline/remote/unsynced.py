"""Shards that may not be on the disk yet, although they are whole: what of them a crash of the machine would leave.

Waiting for the disk would hold up the batch that needs a shard: 50 ms on a slow one, where fetching takes 20. So a
shard is used at once and synced by a thread, and until then `CACHE/unsynced/SHA256` says in which boot of the machine
it was written. The system writes that mark and the renaming of the shard, which comes after it, in this order. When a
cache is opened in another boot, a shard that is still marked may have its size without its content, and is removed.
"""

import os
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Unsynced:
    """The marks of one cache, and the thread of this process that syncs what it wrote.

    Args:
        cache: The cache's folder.
        shards: The folder of its shards.
        locked: Holds the cache's lock. `mark`, `forget` and `remove_of_crashes` are called while it is held.
    """

    def __init__(self, cache: Path, shards: Path, locked: Callable[[], AbstractContextManager[None]]) -> None:
        self._marks, self._shards, self._locked = cache / "unsynced", shards, locked
        self._marks.mkdir(exist_ok=True)
        self._boot = _boot_id()
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def can_wait(self) -> bool:
        """Whether crashes can be told, so that syncing may wait."""
        return bool(self._boot)

    def mark(self, sha256: str) -> None:
        """Before a shard gets its name."""
        if self.can_wait:
            (self._marks / sha256).write_text(self._boot)

    def forget(self, sha256: str) -> None:
        """The shard is gone."""
        (self._marks / sha256).unlink(missing_ok=True)

    def remove_of_crashes(self) -> None:
        """Remove what another boot left unsynced; what a process of this one left is synced."""
        for mark in list(self._marks.iterdir()):
            if mark.read_text() == self._boot != "":
                self.sync_later(mark.name)
                continue
            (self._shards / f"{mark.name}.tar").unlink(missing_ok=True)
            mark.unlink()

    def sync_later(self, sha256: str) -> None:
        """Have the thread sync a shard that is marked."""
        if not self.can_wait or self._closed:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._sync_all, name="alexkit-sync", daemon=True)
            self._thread.start()
        self._waiting.put(sha256)

    def close(self) -> None:
        """Begin no more syncs; the next process that opens the cache does those that are left."""
        self._closed = True
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()

    def _sync_all(self) -> None:
        while (sha256 := self._waiting.get()) is not None and not self._closed:
            with suppress(OSError):  # it keeps its mark
                self._sync(sha256)

    def _sync(self, sha256: str) -> None:
        path = self._shards / f"{sha256}.tar"
        with path.open("rb") as file:
            os.fsync(file.fileno())
            with self._locked():
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):  # not fetched anew meanwhile
                    self.forget(sha256)


def _boot_id() -> str:
    """What tells this boot of the machine from others; empty where that cannot be known."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
