"""Laws of the record of starts: every start is a line that says with what, by which command and on what it ran."""

import json
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


def test_a_commit_is_told_with_what_differs_from_it(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_commit(tmp_path) == head
    (tmp_path / "file").write_text("a")
    subprocess.run([*git, "add", "file"], check=True)
    assert git_commit(tmp_path) == f"{head}-dirty"
