import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alexkit.model.processes import stopping
from alexkit.model.processes.stopping import ONE_REQUEST_S, SIGNALS, StopRequest, stop_requests


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_request_and_its_copies_are_the_same_one(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
    with stop_requests() as stop:
        assert not stop.is_set()
        for _ in range(3):  # a launcher's, a scheduler's and the terminal's
            os.kill(os.getpid(), number)
        assert stop.is_set()
        now += ONE_REQUEST_S + 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_is_heard_although_the_shell_ignores_it_for_commands_in_the_background() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.is_set()
    finally:
        signal.signal(signal.SIGINT, before)


CHILD = """
import os, sys, time
from alexkit.model.processes.stopping import StopRequest
stop, parent = StopRequest(), os.getppid()
print(stop.is_set(), flush=True)
sys.stdin.read()  # until the agent is gone
while os.getppid() == parent:
    time.sleep(0.01)
print(stop.is_set(), flush=True)
"""
AGENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE)
while not os.path.exists(sys.argv[2]):
    pass
os._exit(0)
"""


@pytest.mark.parametrize(("world", "last"), [("2", "True"), (None, "False")])
def test_a_process_of_several_notices_that_its_agent_is_gone_and_one_alone_does_not_care(
    world: str | None, last: str, tmp_path: Path
) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "WORLD_SIZE"}
    environment |= {"WORLD_SIZE": world} if world else {}
    go = tmp_path / "go"
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, CHILD, str(go)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None and agent.stdout.readline() == "False\n"
    go.touch()
    assert agent.stdout.readline() == f"{last}\n"
    agent.wait()


def test_a_thread_that_is_not_the_main_one_catches_no_signals() -> None:
    def enter() -> StopRequest:
        with stop_requests() as stop:
            return stop

    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(enter).result().is_set()
