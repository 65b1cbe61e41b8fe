"""Laws of temporary folders: none outlives its process beyond the next one, and none is taken from it."""

import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexkit.cli.alexprep import alexprep
from alexkit.prep.build.stores.scratch import hold
from alexkit.prep.format.files import lock_file
from alexkit.prep.format.temporary import LOCK_NAME, temporary_folder

KILLED = """
import os
from alexkit.prep.format.temporary import temporary_folder
with temporary_folder("alexkit-test-"):
    os._exit(9)
"""


def test_a_folder_goes_with_its_block_and_with_the_next_one_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    subprocess.run([sys.executable, "-c", KILLED], env={"PYTHONPATH": ":".join(sys.path), "TMPDIR": str(tmp_path)})
    (left,) = tmp_path.iterdir()
    (tmp_path / "alexkit-test-of-others").mkdir()  # without a lock: perhaps still being made
    with temporary_folder("alexkit-test-") as one, temporary_folder("alexkit-test-") as other:
        assert not left.exists() and one.exists() and other.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["alexkit-test-of-others"]


WORKER = """
import sys
from pathlib import Path
from alexkit.prep.build.stores.scratch import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
input()
"""


def test_a_folder_that_workers_made_on_another_machine_goes_after_the_last_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command = [sys.executable, "-c", WORKER, str(tmp_path / "alexkit-out-1")]
    environment = {"PYTHONPATH": ":".join(sys.path), "TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as worker:  # type: ignore[call-overload]
        assert worker.stdout.readline() == "held\n"
        hold(tmp_path / "alexkit-out-2")
        assert (tmp_path / "alexkit-out-1").exists()
        worker.kill()
    hold(tmp_path / "alexkit-out-3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alexkit-out-2", "alexkit-out-3"]
    with temporary_folder("alexkit-out-3-") as folder:
        hold(folder)  # of a run on this machine, which has the lock


def test_a_worker_waits_for_whoever_is_removing_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It once took the remover for the owner, and worked on in a folder that was going."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / "alexkit-out-4"
    folder.mkdir()
    with (folder / LOCK_NAME).open("w+b") as remover, ThreadPoolExecutor(1) as thread:
        lock_file(remover, folder / LOCK_NAME)
        held = thread.submit(hold, folder)
        time.sleep(0.2)
        shutil.rmtree(folder)
        remover.close()
        held.result()
    assert (folder / LOCK_NAME).exists()


def test_a_mistake_in_the_command_line_fetches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    refused = CliRunner().invoke(alexprep, ["verify", "s3://nowhere/set", "--workers", "0"])
    assert refused.exit_code == 2 and "--workers" in refused.stderr and not list(tmp_path.iterdir())
