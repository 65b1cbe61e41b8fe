"""Files that appear whole or not at all, their hashes, and the space for them.

A reader never sees a half-written file under its final name, even after a power failure: content is written to a file
beside it, flushed to disk, then renamed.
"""

import contextlib
import errno
import hashlib
import io
import os
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

if sys.platform != "win32":
    import fcntl

_BUFFER_BYTES = 2**20
PARTIAL_SUFFIX = ".partial"
"""Suffix of files that are being written; one whose writer is gone is abandoned and may be removed."""
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))
"""Errors of file systems without locks: Lustre mounted without `-o flock`, some network file systems."""
_NO_HARD_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))  # exFAT, SMB
_OURS = re.compile(r"[.-][0-9a-f]{12}" + re.escape(PARTIAL_SUFFIX) + "$")


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets the name `path` only if the block ends without an exception.

    Until then its name is unique, so that two writers of one file do not interfere: the last one to finish determines
    its content. Every OSError while writing names `path`, even if a library turned it into another error. Devices,
    pipes and open files, such as /dev/stdout, are written to and never replaced.
    """
    if path.exists() and (not path.is_file() or _is_open_file(path)):
        try:
            with path.open("wb") as special:
                yield special
        except OSError as error:
            raise OSError(error.errno, error.strerror, error.filename or str(path)) from None
        return
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}")
    raw: _NamedFile | None = None
    try:
        raw = _NamedFile(partial)
        with _WrittenFile(raw, _BUFFER_BYTES) as file:
            yield file
            file.flush()
            if raw.error is not None:  # which a library suppressed
                raise raw.error
            try:
                os.fsync(raw.fileno())
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from None
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # on a read-only disk, where it does not exist
            partial.unlink()
        if isinstance(error, OSError) and error.filename in (str(partial), partial):
            raise type(error)(error.errno, error.strerror, str(path)) from None
        if isinstance(error, Exception) and raw is not None and (first := raw.error) is not None:
            raise OSError(first.errno, first.strerror, str(path)) from error
        raise
    sync_folder(path.parent)


def _is_open_file(path: Path) -> bool:
    """Whether the path is a link to a file that this process has open: /dev/stdout, /dev/fd/1."""
    return os.path.realpath(path.parent) in ("/dev", f"/proc/{os.getpid()}/fd")


def create_once(path: Path, content: bytes | Callable[[BinaryIO], None]) -> bool:
    """Create `path` atomically with this content, unless it exists already; returns whether it was created.

    `content` may be a function that writes it. Also raises OSError on a disk that has neither hard links nor locks.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}")
    try:
        with whole_file(partial) as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
        try:
            os.link(partial, path)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            _rename_once(partial, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.filename in (str(partial), partial):
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    sync_folder(path.parent)
    return True


def _rename_once(partial: Path, path: Path) -> None:
    """Replace `os.link` on a disk without hard links, under a lock; raises FileExistsError if `path` exists."""
    lock = path.with_name(f"{path.name}.lock{PARTIAL_SUFFIX}")
    with lock.open("ab") as file:
        lock_file(file, lock)
        if is_new := not path.exists():
            partial.replace(path)
        lock.unlink(missing_ok=True)  # whoever waits for it will find `path`
    if not is_new:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def remove_abandoned(folder: Path) -> None:
    """Remove partial files that killed writers left in `folder`; other files and those being written stay."""
    for path in folder.glob(f"*{PARTIAL_SUFFIX}"):
        if not _OURS.search(path.name):
            continue
        with contextlib.suppress(OSError), path.open("r+b") as file:  # locked, finished meanwhile, or without locks
            # Open for writing: NFS gives no exclusive lock otherwise.
            lock_file(file, path, wait=False)
            path.unlink()


def lock_file(
    file: int | BinaryIO | io.FileIO | io.BufferedIOBase, path: Path, *, wait: bool = True, shared: bool = False
) -> None:
    """Lock an open file until it is closed or the process ends; if `shared`, others may hold the lock too.

    Raises BlockingIOError if another process holds it and `wait` is False, and an OSError that says so if the disk has
    no locks. Does nothing on Windows, which protects open files from removal.
    """
    if sys.platform == "win32":
        return
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        reason = "this disk has no file locks; choose a folder on another disk (Lustre has locks with '-o flock')"
        raise OSError(error.errno, reason, str(path)) from None


def lock_where_possible(
    file: int | BinaryIO | io.FileIO | io.BufferedIOBase, path: Path, *, wait: bool = True, shared: bool = False
) -> bool:
    """Lock like `lock_file`, but tolerate a disk without locks; returns whether the disk has them."""
    try:
        lock_file(file, path, wait=wait, shared=shared)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


class _NamedFile(io.FileIO):
    """A new file whose errors name it, including write errors as on a full disk; locked while it is open.

    On a disk without locks no file counts as abandoned, so none is needed there.
    """

    error: OSError | None = None
    """The first write error; libraries may raise another error after it, torch a RuntimeError."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        lock_where_possible(self, path)
        if not path.exists():  # removed as abandoned before it was locked
            self.close()
            self.__init__(path)  # type: ignore[misc]

    def write(self, content: Any) -> int:
        try:
            return super().write(content) or 0
        except OSError as error:
            self.error = self.error or error
            raise OSError(error.errno, error.strerror, str(self.name)) from None


def scratch_file(folder: Path | None = None) -> io.BufferedRandom:
    """An unnamed file in `folder` or the default folder for temporary files; a write error names the folder."""
    place = Path(tempfile.gettempdir()) if folder is None else folder
    with tempfile.TemporaryFile(dir=place, buffering=0) as file:
        return io.BufferedRandom(_UnnamedFile(os.dup(file.fileno()), place), _BUFFER_BYTES)


class _UnnamedFile(io.FileIO):
    def __init__(self, descriptor: int, folder: Path) -> None:
        super().__init__(descriptor, "r+")
        self.folder = folder

    def write(self, content: Any) -> int:
        try:
            return super().write(content) or 0
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder)) from None


class _WrittenFile(io.BufferedRandom):
    """A buffered file that hides its descriptor, to which NumPy and Pillow would otherwise write directly.

    For the same reason it is not a BufferedWriter, on which NumPy would not call `write`.
    """

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


def no_writing(error: OSError) -> bool:
    """Whether an error means that writing is not allowed: a disk mounted read-only, a folder of another user."""
    return error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make every OSError of the block name a file: `path`, if it names none, as errors of reading do."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; an OSError names the file."""
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; does nothing if the system cannot open a folder (Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(path: Path) -> int:
    """Free bytes on the disk where `path` is or would be."""
    return shutil.disk_usage(existing_part(path)).free


def existing_part(path: Path) -> Path:
    """`path` if it exists, else the nearest folder above it that does."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
