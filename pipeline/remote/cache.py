"""A folder of verified copies of remote shards, shared by all processes of one machine and kept below a size limit.

    CACHE/lock                    locked briefly by whoever changes the folder; contains an upper bound of its bytes
    CACHE/shards/SHA256.tar       a complete shard, verified against the SHA-256 in its name
    CACHE/shards/SHA256.partial   a shard being downloaded; its space is reserved, and its writer holds a lock on it
    CACHE/sets/ID/                manifest, index and statistics of a set (see `face`)
    CACHE/leases/*.lease          what a running process has mapped; its owner holds a lock on it
    CACHE/unsynced/SHA256         marks a shard that a crash of the machine may leave without its content (`unsynced`)

One process fetches a shard while the others wait for it. When room is needed, shards and sets that no running process
has leased are removed, least recently used first; nothing that was not downloaded here is touched. All locks are
`flock`s, which the system releases when a process dies. On a network file system they may work only within one machine:
give every machine a cache on its own disk. The cost per shard does not grow with the number of shards.
"""

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ...errors import InputError
from ...prep.format.files import free_bytes, lock_file
from .unsynced import Unsynced

WAIT_S = 120.0  # for other processes to release shards when these fill the cache
POLL_S = 0.05
_SPARE_LINES = 256  # of a lease, before it is rewritten
_SET = "set:"  # prefix of a set's name in a lease
_SHARD = re.compile(r"[0-9a-f]{64}\.(tar|partial)")

Download = Callable[[BinaryIO], None]
"""Writes a complete, verified shard to an open file, or raises."""


class _Full(Exception):
    """There is no room, and none can be made now."""


class Usage(NamedTuple):
    """Bytes in a cache, including shards that were deleted but are still mapped."""

    shards: int
    leased: int
    """Bytes of shards in use by running processes."""
    small_files: int

    @property
    def total(self) -> int:
        """The sum that the limit bounds."""
        return self.shards + self.small_files


class ShardCache:
    """One process's access to a cache folder. `fetch` leases the shard that it returns until `release` or `close`.

    Thread-safe. Opening a cache removes the leases and partial files of processes that died.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        if limit_bytes < 1:
            raise InputError(f"cache limit must be at least 1 byte, got {limit_bytes}")
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._shards, self._leases = folder / "shards", folder / "leases"
        for one in (self._shards, self._leases, folder / "sets"):
            one.mkdir(parents=True, exist_ok=True)
        self._held: dict[str, int] = {}
        self._lease_lines = 0
        self._lock = -1  # the lock file, while we hold it
        self._unsynced = Unsynced(folder, self._shards, self._locked)
        self._lease_path = self._leases / f"{os.getpid()}-{uuid.uuid4().hex}.lease"
        with self._locked():
            self._lease = os.open(self._lease_path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            lock_file(self._lease, self._lease_path)
            self._remove_partial_files_of_the_dead()
            self._unsynced.remove_of_crashes()
            self._write_bound(self._usage().total)

    def fetch(self, sha256: str, num_bytes: int, download: Download, *, wait_s: float = WAIT_S) -> Path:
        """The path of a complete, leased shard, which is downloaded if it is not in the cache.

        Raises OSError with the sizes if there is still no room after `wait_s` seconds, and whatever `download` raises.
        """
        final, name = self._shards / f"{sha256}.tar", f"{sha256}.tar"
        started = time.monotonic()
        while True:
            room = True
            with self._locked():
                if _size(final) == num_bytes:
                    os.utime(final)
                    self._hold(name, num_bytes)
                    return final
                try:
                    partial = self._claim(sha256, num_bytes)
                except _Full:
                    partial, room = None, False
            if partial is not None:
                break
            if not room and time.monotonic() - started >= wait_s:
                raise self._no_room(num_bytes)
            time.sleep(POLL_S)
        path = self._shards / f"{sha256}.partial"
        try:
            with os.fdopen(partial, "r+b") as file:
                download(file)
                file.flush()
                if not self._unsynced.can_wait:
                    os.fsync(file.fileno())
                with self._locked():
                    self._unsynced.mark(sha256)
                    path.replace(final)
                    os.utime(final)
            self._unsynced.sync_later(sha256)
        except BaseException:
            with self._locked():
                path.unlink(missing_ok=True)
                self._drop(name)
            raise
        return final

    def discard(self, sha256: str, damaged: BinaryIO) -> bool:
        """Remove a shard if it still is this open file, which is damaged; the next `fetch` downloads it again.

        Returns whether it was removed: another process may have replaced it already. Mappings stay readable.
        """
        path = self._shards / f"{sha256}.tar"
        with self._locked():
            if not path.exists() or not os.path.samestat(path.stat(), os.fstat(damaged.fileno())):
                return False
            path.unlink()
            self._unsynced.forget(sha256)
            return True

    def hold_set(self, name: str) -> None:
        """Lease the folder of a set's manifest, index and statistics."""
        with self._locked():
            self._hold(_SET + name, 0)

    def release(self, sha256: str) -> None:
        """End this process's lease on a shard, which it no longer maps."""
        with self._locked():
            self._drop(f"{sha256}.tar")

    def close(self) -> None:
        """Release everything. A closed cache fetches no more shards."""
        if self._lease < 0:
            return
        self._unsynced.close()
        with self._locked():
            self._held.clear()
            self._lease_path.unlink(missing_ok=True)
            os.close(self._lease)
            self._lease = -1

    def usage(self) -> Usage:
        """What the cache holds now."""
        with self._locked():
            return self._usage()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock, so that only one thread of one process changes the folder."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            lock_file(descriptor, self.folder / "lock")
            self._lock = descriptor
            yield
        finally:
            os.close(descriptor)

    def _bound(self) -> int | None:
        """An upper bound of the cache's bytes: the last count plus everything claimed since; None if unknown."""
        text = os.pread(self._lock, 64, 0)
        return int(text) if text.endswith(b"\n") and text.strip().isdigit() else None

    def _write_bound(self, num_bytes: int) -> None:
        text = b"%d\n" % num_bytes
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, text, 0)

    def _claim(self, sha256: str, num_bytes: int) -> int | None:
        """The open, locked, empty partial file of a shard, with room for it; None while another process writes it."""
        path = self._shards / f"{sha256}.partial"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            lock_file(descriptor, path, wait=False)
        except BlockingIOError:
            os.close(descriptor)
            return None
        try:
            os.ftruncate(descriptor, 0)  # left by a process that died
            self._make_room(num_bytes)
            _reserve(descriptor, num_bytes, path)
            self._hold(f"{sha256}.tar", num_bytes)
        except BaseException:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return descriptor

    def _make_room(self, num_bytes: int) -> None:
        bound = self._bound()
        if bound is None or bound + num_bytes > self.limit_bytes:
            bound = self._usage().total
        excess = bound + num_bytes - self.limit_bytes
        if excess <= 0:
            self._write_bound(bound + num_bytes)
            return
        leased = self._leased_by_others().keys() | self._held.keys()
        idle = [
            (entry.stat().st_mtime_ns, Path(entry.path), entry.stat().st_size)
            for entry in os.scandir(self._shards)
            if _SHARD.fullmatch(entry.name) and entry.name.endswith(".tar") and entry.name not in leased
        ]
        for folder in (self.folder / "sets").iterdir():
            if _SET + folder.name not in leased:
                idle.append((folder.stat().st_mtime_ns, folder, _bytes_below(folder)))
        if sum(size for _, _, size in idle) < excess:
            raise _Full
        for _, path, size in sorted(idle):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
                self._unsynced.forget(path.stem)
            excess -= size
            if excess <= 0:
                break
        self._write_bound(self.limit_bytes + excess)

    def _usage(self) -> Usage:
        leased = {**self._leased_by_others(), **self._held}
        found = {entry.name: entry.stat().st_size for entry in os.scandir(self._shards) if _SHARD.fullmatch(entry.name)}
        # A shard being downloaded is leased under its final name.
        gone = sum(size for name, size in leased.items() if not {name, f"{name[:-4]}.partial"} & found.keys())
        small = _bytes_below(self.folder / "sets")
        return Usage(shards=sum(found.values()) + gone, leased=sum(leased.values()), small_files=small)

    def _leased_by_others(self) -> dict[str, int]:
        """Names and bytes of what other running processes lease; removes the leases of processes that died."""
        leased: dict[str, int] = {}
        for path in self._leases.glob("*.lease"):
            if path == self._lease_path:
                continue
            try:
                descriptor = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                lock_file(descriptor, path, wait=False)
            except BlockingIOError:
                leased |= _held_by(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
            else:
                path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)
        return leased

    def _remove_partial_files_of_the_dead(self) -> None:
        for path in self._shards.glob("*.partial"):
            descriptor = os.open(path, os.O_RDWR)
            try:
                lock_file(descriptor, path, wait=False)
                path.unlink()
            except BlockingIOError:
                continue
            finally:
                os.close(descriptor)

    def _hold(self, name: str, num_bytes: int) -> None:
        if self._held.get(name) != num_bytes:
            self._held[name] = num_bytes
            self._add_to_lease(f"+{num_bytes} {name}\n")

    def _drop(self, name: str) -> None:
        if self._held.pop(name, None) is not None and self._lease >= 0:
            self._add_to_lease(f"- {name}\n")

    def _add_to_lease(self, line: str) -> None:
        end = os.fstat(self._lease).st_size
        self._lease_lines += 1
        if self._lease_lines > 2 * len(self._held) + _SPARE_LINES:
            os.ftruncate(self._lease, 0)
            line, end = "".join(f"+{num_bytes} {name}\n" for name, num_bytes in self._held.items()), 0
            self._lease_lines = len(self._held)
        os.pwrite(self._lease, line.encode(), end)

    def _no_room(self, num_bytes: int) -> OSError:
        usage = self.usage()
        return OSError(
            errno.ENOSPC,
            f"no room for a shard of {num_bytes} bytes within the limit of {self.limit_bytes}: {usage.leased} bytes "
            f"are in use by running processes, {usage.small_files} are indexes; raise the limit (ALEXKIT_CACHE_LIMIT)",
            str(self.folder),
        )


def _held_by(lease: bytes) -> dict[str, int]:
    """Names and bytes in a lease, one per line; a full disk may have truncated the last line."""
    held: dict[str, int] = {}
    for line in lease[: lease.rfind(b"\n") + 1].decode().splitlines():
        sign_and_size, _, name = line.partition(" ")
        if sign_and_size == "-":
            held.pop(name, None)
        else:
            held[name] = int(sign_and_size)
    return held


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _reserve(descriptor: int, num_bytes: int, path: Path) -> None:
    """Allocate the disk space now, so that a full disk is noticed before the download."""
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise OSError(
                error.errno, f"{error.strerror}: {num_bytes} bytes needed, {free_bytes(path)} free", str(path)
            ) from None
        os.ftruncate(descriptor, num_bytes)
