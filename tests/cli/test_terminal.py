import os
import signal

import click
import pytest
from click.testing import CliRunner

from alexkit.cli import terminal
from alexkit.cli.terminal import one_line_errors, progress
from alexkit.errors import InputError


def test_without_a_terminal_the_last_state_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("packing", 3, "images") as update:
        for done in range(4):
            update(done, "1 bad" if done == 3 else "")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("packing: 3/3 images, ") and lines[0].endswith("1 bad")


def test_long_work_says_rate_and_eta_as_it_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 100_000, 6))  # every look at the clock is six seconds later
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(clock)))
    with progress("packing", 1000, "images") as update:
        for done in range(100, 500, 100):
            update(done)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all("images/s" in line for line in lines)
    assert "ETA" in lines[-1] and lines[-1].startswith("packing: 400/1000")


@pytest.mark.parametrize("error", [InputError, OSError, ImportError])
def test_what_a_user_can_get_wrong_is_one_line(error: type[Exception]) -> None:
    @click.command()
    @one_line_errors
    def command() -> None:
        raise error("shards/x.tar: 3 bytes,\n expected 4")

    result = CliRunner().invoke(command)
    assert result.exit_code == 1
    assert result.output == "Error: shards/x.tar: 3 bytes, expected 4\n"


def test_our_own_mistakes_keep_their_traceback() -> None:
    @click.command()
    @one_line_errors
    def command() -> None:
        raise ZeroDivisionError

    assert isinstance(CliRunner().invoke(command).exception, ZeroDivisionError)


def test_sigterm_ends_a_command_like_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)

    @click.command()
    @one_line_errors
    def command() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        result = CliRunner().invoke(command)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.exit_code == terminal.EXIT_INTERRUPTED
    assert "the same command continues" in result.output
