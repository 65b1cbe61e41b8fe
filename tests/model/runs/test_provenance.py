"""Laws of the record of starts: every start is a line that says with what, by which command and on what it ran."""

import json
import os
import resource
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import torch

from alexkit import __version__
from alexkit.model.runs.provenance import STARTS, git_commit, record_start


def test_every_start_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["alextrain", "--recipe", "quick"])
    for step in (0, 40):
        record_start(tmp_path, step=step, device="cpu", precision="float32", processes=2)
    first, second = (json.loads(line) for line in (tmp_path / STARTS).read_text().splitlines())
    assert (first["step"], second["step"]) == (0, 40)
    assert first["command"] == ["alextrain", "--recipe", "quick"] and first["processes"] == 2
    assert first["versions"]["alexkit"] == __version__ and first["versions"]["torch"] == torch.__version__
    assert datetime.fromisoformat(first["time"]).tzinfo is not None


@pytest.mark.parametrize(
    ("line", "step", "precision", "warned"),
    [
        ('{"precision": "bfloat16"}\n', 40, "float32", True),
        ('{"precision": "bfloat16"}\n', 40, "bfloat16", False),
        ('{"precision": "bfloat16"}\n', 0, "float32", False),  # started over: nothing was kept
        ('{"precision": "bflo', 40, "float32", False),
        ("[]\n", 40, "float32", False),
        ("", 40, "float32", False),
    ],
)
def test_another_precision_than_before_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, step: int, precision: str, warned: bool
) -> None:
    (tmp_path / STARTS).write_text(line)
    record_start(tmp_path, step=step, device="cpu", precision=precision, processes=1)
    assert ("trained in bfloat16 so far and in float32 from step 40 on" in caplog.text) is warned


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            record_start(tmp_path, step=0, device="cpu", precision="float32", processes=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / STARTS)


def test_a_commit_is_told_with_what_differs_from_it(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert git_commit(tmp_path) is None  # no commit yet
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_commit(tmp_path) == head
    (tmp_path / "file").write_text("a")
    assert git_commit(tmp_path) == head  # it is not tracked
    subprocess.run([*git, "add", "file"], check=True)
    assert git_commit(tmp_path) == f"{head}-dirty"
    subprocess.run([*git, "commit", "-q", "-m", "second"], check=True)
    os.utime(tmp_path / "file", (0, 0))  # which git notes in its index when it may write there
    index = (tmp_path / ".git/index").read_bytes()
    second = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_commit(tmp_path) == second and (tmp_path / ".git/index").read_bytes() == index
