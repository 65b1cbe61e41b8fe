"""Shards that are complete but may not be on the disk yet, and so may not survive a crash of the machine.

Waiting for the disk would delay the batch that needs a shard: by 50 ms on a slow disk, when fetching takes 20. A shard
is therefore used at once and synced by a thread; until then, `CACHE/unsynced/SHA256` records in which boot of the
machine it was written. The system writes this mark before the shard's later renaming. If a cache is opened in another
boot, a shard that is still marked may have its size but not its content, and is removed.
"""

import os
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Unsynced:
    """The marks of one cache, and the thread that syncs the shards which this process wrote.

    Args:
        cache: The cache's folder.
        shards: The folder of its shards.
        locked: Holds the cache's lock. Call `mark`, `forget` and `remove_of_crashes` only while it is held.
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
        """Whether a crash can be detected later, so that syncing may wait."""
        return bool(self._boot)

    def mark(self, sha256: str) -> None:
        """Mark a shard; call this before it gets its final name."""
        if self.can_wait:
            (self._marks / sha256).write_text(self._boot)

    def forget(self, sha256: str) -> None:
        """Remove the mark of a shard that is synced or gone."""
        (self._marks / sha256).unlink(missing_ok=True)

    def remove_of_crashes(self) -> None:
        """Remove shards that another boot left unsynced; sync those left by processes of this boot."""
        for mark in list(self._marks.iterdir()):
            if mark.read_text() == self._boot != "":
                self.sync_later(mark.name)
                continue
            (self._shards / f"{mark.name}.tar").unlink(missing_ok=True)
            mark.unlink()

    def sync_later(self, sha256: str) -> None:
        """Have the thread sync a marked shard."""
        if not self.can_wait or self._closed:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._sync_all, name="alexkit-sync", daemon=True)
            self._thread.start()
        self._waiting.put(sha256)

    def close(self) -> None:
        """Start no more syncs; the next process that opens the cache does the remaining ones."""
        self._closed = True
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()

    def _sync_all(self) -> None:
        while (sha256 := self._waiting.get()) is not None and not self._closed:
            with suppress(OSError):  # the shard keeps its mark
                self._sync(sha256)

    def _sync(self, sha256: str) -> None:
        path = self._shards / f"{sha256}.tar"
        with path.open("rb") as file:
            os.fsync(file.fileno())
            with self._locked():
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):  # not fetched again meanwhile
                    self.forget(sha256)


def _boot_id() -> str:
    """Identifies this boot of the machine; empty if unknown."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
