"""Files that appear whole or not at all, their hashes, and the room for them.

A reader never sees a half-written file at its final name, also after a power cut: content is written beside,
flushed to the disk, then renamed.
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
"""Ends the name of a file that is being written; one whose writer is gone is nobody's and may be removed."""
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))
"""What file systems without locks answer: Lustre that is not mounted with `-o flock`, some of a network."""
_NO_HARD_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))  # exFAT, SMB
_OURS = re.compile(r"[.-][0-9a-f]{12}" + re.escape(PARTIAL_SUFFIX) + "$")


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the name `path` only when the block ends without an exception.

    The name it has until then is used by nobody else, so that two writers of one file do not meet: the last one to end
    gives it its content. Every OSError of the writing names `path`, also when a library made another error of it. A
    device or a pipe, as /dev/stdout, is written to and never replaced.
    """
    if path.exists() and not path.is_file():
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
            if raw.error is not None:  # which a library kept to itself
                raise raw.error
            try:
                os.fsync(raw.fileno())
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from None
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # of a read-only disk, where there is none
            partial.unlink()
        if isinstance(error, OSError) and error.filename in (str(partial), partial):
            raise type(error)(error.errno, error.strerror, str(path)) from None
        if isinstance(error, Exception) and raw is not None and (first := raw.error) is not None:
            raise OSError(first.errno, first.strerror, str(path)) from error
        raise
    sync_folder(path.parent)


def create_once(path: Path, content: bytes | Callable[[BinaryIO], None]) -> bool:
    """Give `path` this content unless it is there already, whole and at once; whether it was not there.

    `content` may be a function that writes it. Raises OSError also on a disk that has neither hard links nor locks.
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
    """What `os.link` does where a disk has no hard links, under a lock; FileExistsError when `path` is there."""
    lock = path.with_name(f"{path.name}.lock{PARTIAL_SUFFIX}")
    with lock.open("ab") as file:
        lock_file(file, lock)
        if is_new := not path.exists():
            partial.replace(path)
        lock.unlink(missing_ok=True)  # whoever waits for it finds `path`
    if not is_new:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def remove_abandoned(folder: Path) -> None:
    """Remove what writers that were killed left in `folder`; files of others and those being written stay."""
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
    """Take the lock of an open file, which its end and that of the process give back; others have it too if `shared`.

    Raises BlockingIOError when another has it and we do not `wait`, and OSError that says so where the disk has none.
    Windows, where nothing is done, keeps open files from removal.
    """
    if sys.platform == "win32":
        return
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        reason = "this disk has no file locks; choose a folder on another one (Lustre has them with '-o flock')"
        raise OSError(error.errno, reason, str(path)) from None


def lock_where_possible(
    file: int | BinaryIO | io.FileIO | io.BufferedIOBase, path: Path, *, wait: bool = True, shared: bool = False
) -> bool:
    """As `lock_file`, for files that need no lock where the disk has none; whether it has."""
    try:
        lock_file(file, path, wait=wait, shared=shared)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


class _NamedFile(io.FileIO):
    """A new file whose errors name it, also those of writing, as on a full disk; locked as long as it is open.

    Where a disk has no locks nothing is taken for abandoned, so that it needs none.
    """

    error: OSError | None = None
    """The first of them; libraries raise what they like after it, torch a RuntimeError."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        lock_where_possible(self, path)
        if not path.exists():  # taken for abandoned between the two lines before
            self.close()
            self.__init__(path)  # type: ignore[misc]

    def write(self, content: Any) -> int:
        try:
            return super().write(content) or 0
        except OSError as error:
            self.error = self.error or error
            raise OSError(error.errno, error.strerror, str(self.name)) from None


def scratch_file(folder: Path | None = None) -> io.BufferedRandom:
    """A file without a name in `folder`, or where temporary files go; an OSError of writing names the folder."""
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
    """A buffered file without a descriptor to hand out, since NumPy and Pillow would write past us to that.

    For the same reason it is no BufferedWriter: whatever NumPy knows to be one gets no call of `write`.
    """

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


def no_writing(error: OSError) -> bool:
    """Whether an error says that nothing may be written there: a disk mounted read-only, a folder of another user."""
    return error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let every OSError of the block name a file, `path` where it names none: those of a read do not."""
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
    """Make the names in `folder` durable; where the system cannot open a folder (Windows) there is nothing to do."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(path: Path) -> int:
    """Bytes free on the disk where `path` is or would be."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free
