"""A folder of verified copies of remote shards, shared by all processes of one machine and kept below a limit.

    CACHE/lock                    held for moments: whoever changes the folder; holds a sum that is at least its bytes
    CACHE/shards/SHA256.tar       a whole shard, checked against the SHA-256 that is its name
    CACHE/shards/SHA256.partial   a shard on its way; its size is reserved, its writer holds a lock on it
    CACHE/sets/ID/                manifest, index and statistics of a set (see `face`)
    CACHE/leases/*.lease          what a living process has mapped; its owner holds a lock on it
    CACHE/unsynced/SHA256         a shard that a crash of the machine may leave without its content (see `unsynced`)

One process fetches a shard, the others wait for it. What no living process has leased is dropped, the least recently
used first, when room is needed; nothing is touched that was not downloaded here. All locks are `flock`s, which the
system releases when a process dies. On a network file system they may hold only within one machine: give every machine
a cache on a disk of its own. What a shard costs does not grow with their number.
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

WAIT_S = 120.0  # for others to drop what they use, when the cache is full of it
POLL_S = 0.05
_SPARE_LINES = 256  # of a lease, before it is written anew
_SET = "set:"  # before the name of a set in a lease
_SHARD = re.compile(r"[0-9a-f]{64}\.(tar|partial)")

Download = Callable[[BinaryIO], None]
"""Writes a whole, verified shard to an open file, or raises."""


class _Full(Exception):
    """No room that could be made now."""


class Usage(NamedTuple):
    """Bytes in a cache. All that was deleted but is still mapped counts too."""

    shards: int
    leased: int
    """Of them, what living processes use."""
    small_files: int

    @property
    def total(self) -> int:
        """All together: what the limit bounds."""
        return self.shards + self.small_files


class ShardCache:
    """One process's door to a cache folder. `fetch` leases what it gives, until `release` or `close`.

    Safe to call from several threads. Opening one removes what processes that died left behind: their leases and their
    partial files.
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
        """The path of a whole shard, leased; downloaded unless it is here.

        Raises OSError naming the numbers when there is no room for `wait_s` seconds, and what `download` raises.
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

    def discard(self, sha256: str) -> None:
        """Remove a shard that turned out damaged, so that the next `fetch` downloads it; its maps stay readable."""
        with self._locked():
            (self._shards / f"{sha256}.tar").unlink(missing_ok=True)
            self._unsynced.forget(sha256)

    def hold_set(self, name: str) -> None:
        """Lease the folder of a set's manifest, index and statistics."""
        with self._locked():
            self._hold(_SET + name, 0)

    def release(self, sha256: str) -> None:
        """Say that this process has no map of the shard any more."""
        with self._locked():
            self._drop(f"{sha256}.tar")

    def close(self) -> None:
        """Release everything. A closed cache gives nothing more."""
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
        """Only one process, and one thread of it, changes the folder."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            lock_file(descriptor, self.folder / "lock")
            self._lock = descriptor
            yield
        finally:
            os.close(descriptor)

    def _bound(self) -> int | None:
        """At least the bytes of the cache: what was counted last, and all that was claimed since; None when unknown."""
        text = os.pread(self._lock, 64, 0)
        return int(text) if text.endswith(b"\n") and text.strip().isdigit() else None

    def _write_bound(self, num_bytes: int) -> None:
        text = b"%d\n" % num_bytes
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, text, 0)

    def _claim(self, sha256: str, num_bytes: int) -> int | None:
        """The open, locked, empty partial file of a shard with room for it; None while another process writes it."""
        path = self._shards / f"{sha256}.partial"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            lock_file(descriptor, path, wait=False)
        except BlockingIOError:
            os.close(descriptor)
            return None
        try:
            os.ftruncate(descriptor, 0)  # of one that died
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
        # A shard on its way is leased under the name it will have.
        gone = sum(size for name, size in leased.items() if not {name, f"{name[:-4]}.partial"} & found.keys())
        small = _bytes_below(self.folder / "sets")
        return Usage(shards=sum(found.values()) + gone, leased=sum(leased.values()), small_files=small)

    def _leased_by_others(self) -> dict[str, int]:
        """Names and bytes of what other living leases hold; leases of the dead are removed."""
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
    """Names and bytes that a lease tells of, line by line; a last line may be cut short by a full disk."""
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
    """Take the disk space now, so that a full disk is known before the download."""
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise OSError(
                error.errno, f"{error.strerror}: {num_bytes} bytes needed, {free_bytes(path)} free", str(path)
            ) from None
        os.ftruncate(descriptor, num_bytes)
