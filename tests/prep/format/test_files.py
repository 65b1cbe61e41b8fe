"""Files that appear whole."""

import contextlib
import errno
import gc
import io
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import pytest
from PIL import Image

from alexkit.prep.build import lock
from alexkit.prep.build.lock import exclusive_lock, waiting_lock
from alexkit.prep.format import files
from alexkit.prep.format.files import create_once, lock_file, remove_abandoned, scratch_file, whole_file

PIXELS_HWC = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)


@contextlib.contextmanager
def no_large_files() -> Iterator[None]:
    """Files of more than 4 KiB cannot be written, as on a disk that is full. No fixture: pytest writes a log itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_and_say_nothing(file: BinaryIO) -> None:
    with contextlib.suppress(OSError):
        file.write(bytes(2**21))


def write_and_raise_another(file: BinaryIO) -> None:
    try:
        file.write(bytes(2**21))
    except OSError as error:
        raise RuntimeError("unexpected pos 64 vs 0") from error


# NumPy and Pillow write past a Python file to its descriptor where they can; torch makes a RuntimeError of every error.
WRITERS: dict[str, Callable[[BinaryIO], object]] = {
    "bytes": lambda file: file.write(PIXELS_HWC.tobytes()),
    "numpy.save": lambda file: np.save(file, PIXELS_HWC),
    "numpy.savez": lambda file: np.savez(file, x=PIXELS_HWC),
    "JPEG": lambda file: Image.fromarray(PIXELS_HWC).save(file, "JPEG", quality=95),
    "PNG": lambda file: Image.fromarray(PIXELS_HWC).save(file, "PNG"),
    "WebP": lambda file: Image.fromarray(PIXELS_HWC).save(file, "WEBP", quality=95),
    "an error kept to itself": write_and_say_nothing,
    "another error": write_and_raise_another,
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("writer", WRITERS)
def test_an_error_of_the_disk_names_the_file_whoever_writes(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "file"
    with pytest.raises(OSError, match="File too large") as refused, no_large_files(), whole_file(path) as file:
        WRITERS[writer](file)
    assert refused.value.filename == str(path) and refused.value.errno
    assert not list(tmp_path.iterdir())
    del refused
    gc.collect()  # the zip file that NumPy 1 leaves open, which complains: in this test, not in the next one


@pytest.mark.parametrize("writer", [name for name in WRITERS if "error" not in name])
def test_libraries_write_the_same_bytes_as_into_memory(tmp_path: Path, writer: str) -> None:
    with whole_file(tmp_path / "file") as file:
        WRITERS[writer](file)
    memory = io.BytesIO()
    WRITERS[writer](memory)
    assert (tmp_path / "file").read_bytes() == memory.getvalue()


def test_an_error_of_a_device_names_it() -> None:
    with pytest.raises(OSError, match="No space left") as refused, whole_file(Path("/dev/full")) as file:
        file.write(b"content")
    assert refused.value.filename == "/dev/full"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    received: list[bytes] = []
    reader.start()
    with whole_file(pipe) as file:
        file.write(b"content")
    reader.join(10)
    assert received == [b"content"] and pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_an_error_of_a_file_without_a_name_names_its_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large") as refused, no_large_files(), scratch_file(tmp_path) as file:
        file.write(bytes(2**21))
    assert refused.value.filename == str(tmp_path)
    with scratch_file(tmp_path) as file:
        file.write(b"content")
        file.seek(3)
        assert file.read() == b"tent" and not list(tmp_path.iterdir())


def no_links(source: Path, target: Path) -> NoReturn:
    raise OSError(errno.EPERM, "Operation not permitted", str(source), None, str(target))


def no_locks(file: object, operation: int) -> NoReturn:
    raise OSError(errno.ENOSYS, "Function not implemented")


@pytest.mark.parametrize("has_links", [True, False])
def test_of_many_writers_one_creates_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool) -> None:
    """Also on a disk without hard links, as exFAT and SMB are."""
    if not has_links:
        monkeypatch.setattr(files.os, "link", no_links)
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(lambda i: create_once(tmp_path / "plan", b"%d" % i), range(40)))
    assert created.count(True) == 1
    assert (tmp_path / "plan").read_bytes() == b"%d" % created.index(True)
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]


def test_a_disk_without_locks_is_written_to_and_nothing_there_is_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As Lustre is where it is mounted without `-o flock`."""
    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with whole_file(tmp_path / "file") as file:
        file.write(b"content")
        remove_abandoned(tmp_path)
    assert (tmp_path / "file").read_bytes() == b"content" and create_once(tmp_path / "plan", b"")
    (tmp_path / "work").mkdir()
    with exclusive_lock(tmp_path / "work/lock", doing="writing shards"), waiting_lock(tmp_path / "other"):
        assert f"{tmp_path}: this disk has no file locks; see to it that nobody else is writing" in caplog.text
    with pytest.raises(OSError, match="no file locks; choose a folder on another disk"):
        lock_file(0, tmp_path / "lock")
    monkeypatch.setattr(files.os, "link", no_links)
    with pytest.raises(OSError, match="no file locks"):
        create_once(tmp_path / "neither", b"")


def test_a_lock_is_taken_if_its_owner_removes_it_with_its_folder_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a run that ends between our open and our lock."""
    path = tmp_path / "work/lock"
    take, owners = lock.lock_where_possible, [path.parent]

    def end_first(*arguments: Any, **options: Any) -> bool:
        if owners:
            lock.remove_work(owners.pop())
        return take(*arguments, **options)

    path.parent.mkdir()
    monkeypatch.setattr(lock, "lock_where_possible", end_first)
    with lock.exclusive_lock(path, doing="writing shards"):
        assert path.exists() and not owners


def test_standard_output_redirected_to_a_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = """
import sys
from pathlib import Path
from alexkit.prep.format.files import whole_file
with whole_file(Path("/dev/fd/1")) as file:
    file.write(b"content")
"""
    with out.open("wb") as file:
        inode = out.stat().st_ino
        done = subprocess.run([sys.executable, "-c", script], stdout=file, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == b"content" and out.stat().st_ino == inode
