import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alexkit.model.runs.lock import LOCK, RunLock

HOLD = """
import sys, time
from pathlib import Path
from alexkit.model.runs.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_second_owner_is_refused_naming_the_first(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=rf"run: process {holder.pid} on .* is training this run; wait for it, or"):
            RunLock(tmp_path / "run")
    finally:
        holder.kill()
        holder.communicate()
    lock = RunLock(tmp_path / "run")  # a dead owner's lock is free
    assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()
    lock.release()


def test_two_locks_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    with pytest.raises(ValueError, match=f"process {os.getpid()} on"):
        RunLock(tmp_path)
    lock.release()
    RunLock(tmp_path).release()


def test_a_refused_start_leaves_no_folder_and_a_begun_run_stays(tmp_path: Path) -> None:
    RunLock(tmp_path / "runs" / "one").release()
    assert not (tmp_path / "runs").exists()
    lock = RunLock(tmp_path / "runs" / "one")
    (tmp_path / "runs" / "one" / "config.json").touch()
    lock.release()
    lock.release()  # twice is once
    assert [path.name for path in (tmp_path / "runs" / "one").iterdir()] == ["config.json"]


def test_a_disk_that_has_become_read_only_does_not_hide_its_first_error_behind_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    lock = RunLock(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        lock.release()
    RunLock(tmp_path).release()  # it was released all the same
