"""A torchrun that stands still is ended; one that ended, or anybody else, is left alone."""

import os
import signal
import subprocess
import sys

import pytest

from alexkit.model.processes.torchrun import end_torchrun_later

PARENT = """
import subprocess, sys
child = subprocess.run([sys.executable, "-c", sys.argv[1]])
print("child ended", flush=True)
{then}
"""
CHILD = "from alexkit.model.processes.torchrun import end_torchrun_later; end_torchrun_later(0.2)"


def parent(then: str, **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PARENT.format(then=then), CHILD]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)


def test_a_torchrun_that_waits_forever_is_ended() -> None:
    with parent("import time; time.sleep(60)", TORCHELASTIC_RUN_ID="1") as process:
        assert process.stdout is not None and process.stdout.readline() == "child ended\n"
        assert process.wait(timeout=50) == -signal.SIGKILL


def test_a_torchrun_that_ends_by_itself_has_its_own_status() -> None:
    with parent("sys.exit(7)", TORCHELASTIC_RUN_ID="1") as process:
        assert process.wait(timeout=50) == 7


def test_other_parents_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **settings: started.append(arguments))
    end_torchrun_later()
    assert started == []
