import contextlib
import errno
import fcntl
import logging
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from alexkit.cli import locations, terminal
from alexkit.cli.alexeval import alexeval
from alexkit.cli.alexprep import alexprep
from alexkit.cli.alextrain import alextrain
from alexkit.cli.terminal import if_interrupted, note, one_line_errors, progress, stands_for
from alexkit.errors import InputError
from alexkit.extras import require


def test_work_done_at_once_has_no_rate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(terminal.time, "monotonic", lambda: 0.0)
    with progress("packing", 3, "images") as update:
        update(0)
        update(3, "1 bad")
    assert capsys.readouterr().err == "packing: 3/3 images, 1 bad\n"


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


def failing(error: BaseException) -> click.Command:
    @click.command()
    @one_line_errors
    def command() -> None:
        raise error

    return command


def test_errors_and_warnings_name_the_url_in_place_of_the_folder_that_stands_for_it() -> None:
    @click.command()
    @click.pass_context
    @one_line_errors
    def command(context: click.Context) -> None:
        stands_for(context, "/cache/sets/1f", "s3://bucket/set")
        terminal._StderrHandler().handle(logging.makeLogRecord({"msg": "%s has no val", "args": ("/cache/sets/1f",)}))
        raise InputError(
            "/cache/sets/1f/train: no; /cache/sets/1f: no; /cache/sets/1f/train/index.bin and 1ff are there"
        )

    said = CliRunner().invoke(command).output
    assert "s3://bucket/set has no val\n" in said
    assert (
        "Error: s3://bucket/set/train: no; s3://bucket/set: no; /cache/sets/1f/train/index.bin and 1ff are there"
        in said
    )


def test_files_of_a_copy_that_ends_with_the_command_are_named_by_the_url() -> None:
    def said_of(error: Exception) -> str:
        @click.command()
        @click.pass_context
        @one_line_errors
        def command(context: click.Context) -> None:
            stands_for(context, "/tmp/alexkit-1/set", "s3://bucket/set", is_copy=True)
            raise error

        return CliRunner().invoke(command).output

    words = "/tmp/alexkit-1/set/val/x.tar: gone; /tmp/alexkit-1/set: no; /tmp/alexkit-1/set-2/a and /tmp/alexkit-1/sets"
    assert said_of(InputError(words)) == (
        "Error: s3://bucket/set/val/x.tar: gone; s3://bucket/set: no; /tmp/alexkit-1/set-2/a and /tmp/alexkit-1/sets\n"
    )
    full = OSError(errno.ENOSPC, "No space left on device", "/tmp/alexkit-1/set/val/x.tar")
    assert said_of(full).startswith("Error: /tmp/alexkit-1/set/val/x.tar: No space left")


def test_what_is_written_beside_a_copy_comes_here_and_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("train-samples.png").write_text("mine")
    Path("train-samples-2.png").write_text("mine too")
    copied = set()
    for number in range(2):
        copy = tmp_path / f"{number}/set"
        for name in ("train/samples.png", "val/samples.png", "inspect.html", "val/manifest.json"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_text(f"{number} {name}")
        copied.add(copy / "val/manifest.json")
        locations._finish(copy.parent, copy, copied)
    found = {path.name: path.read_text() for path in Path().iterdir()}
    assert found == {
        "train-samples.png": "mine",
        "train-samples-2.png": "mine too",
        "train-samples-3.png": "0 train/samples.png",
        "train-samples-4.png": "1 train/samples.png",
        "val-samples.png": "0 val/samples.png",
        "val-samples-2.png": "1 val/samples.png",
        "inspect.html": "0 inspect.html",
        "inspect-2.html": "1 inspect.html",
    }
    assert "train-samples-3.png: here, since the shard set is remote" in capsys.readouterr().err


@pytest.mark.parametrize(("own", "lines"), [(None, 1), (0, 1), (1, 1), ("verify: 2 findings", 2)])
def test_a_command_whose_pages_the_disk_does_not_take_fails_and_keeps_them(
    own: int | str | None, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It once ended with 0. `own` is how the command itself ends."""
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "alexkit-copy-1/set"
    copy.mkdir(parents=True)
    (copy / "inspect.html").write_bytes(bytes(8192))

    @click.command()
    @click.pass_context
    def inspect(context: click.Context) -> None:
        context.call_on_close(lambda: locations._finish(copy.parent, copy, {copy / "train.tar"}))
        if isinstance(own, str):
            raise click.ClickException(own)
        if own is not None:
            raise SystemExit(own)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        result = CliRunner().invoke(inspect)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 1 and result.stderr.count("Error: ") == lines, result.stderr
    assert "File too large; the written files are in" in result.stderr
    assert (tmp_path / "alexkit-kept-1/set/inspect.html").stat().st_size == 8192


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (alexprep, "adopt s3://bucket/tars adopted"),
        (alexprep, "adopt . s3://bucket/adopted"),
        (alexprep, "demo-images s3://bucket/images"),
        (alexeval, "curves s3://bucket/runs/original"),
        (alextrain, "--runs s3://bucket/runs"),
    ],
)
def test_a_url_is_refused_where_a_path_of_this_machine_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: click.Command, line: str
) -> None:
    """As a path it would be a folder called s3: below the current one."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(program, line.split())
    assert result.exit_code == 2, result.output
    assert ": is in a store; it must be on this machine: name a local path" in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_windows_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    result = CliRunner().invoke(failing(InputError("not reached")))
    assert result.exit_code == 1
    assert result.output == "Error: alexkit does not run on Windows; use WSL 2 or Linux (alexprep runs on macOS too)\n"


@pytest.mark.parametrize("error", [InputError, OSError, ImportError])
def test_what_a_user_can_get_wrong_is_one_line(error: type[Exception]) -> None:
    command = failing(error("shards/x.tar: 3 bytes,\n expected 4"))
    result = CliRunner().invoke(command)
    assert result.exit_code == 1
    assert result.output == "Error: shards/x.tar: 3 bytes, expected 4\n"
    assert isinstance(CliRunner().invoke(command, ["--debug"]).exception, error)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("torch", "batches need PyTorch: pip install 'alexkit[loader]'; training: pip install 'alexkit[train]'"),
        ("nvidia.dali", "pip install 'alexkit[cu12]', or 'alexkit[cu13]'"),
        ("matplotlib.figure", "pip install 'alexkit[report]'"),
    ],
)
def test_a_missing_library_is_answered_by_its_pip_line(module: str, words: str) -> None:
    result = CliRunner().invoke(failing(ModuleNotFoundError(f"No module named {module!r}", name=module)))
    assert result.exit_code == 1 and words in result.output and "Traceback" not in result.output


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), ValueError("not ours to explain"), ImportError("x", name="alexkit.prep.gone")]
)
def test_our_own_mistakes_keep_their_traceback(error: Exception) -> None:
    assert CliRunner().invoke(failing(error)).exception is error


def test_quiet_shows_results_alone_and_verbose_logs_what_is_decided() -> None:
    @click.command()
    @one_line_errors
    def command() -> None:
        note("found class folders")
        logging.getLogger("alexkit.prep").info("two workers")
        with progress("packing", 3, "images") as update:
            update(3)
        click.echo("3 images")

    shown = {option: CliRunner().invoke(command, option.split()).output for option in ("", "-q", "-v")}
    assert shown["-q"] == "3 images\n"
    assert "found class folders" in shown[""] and "packing: 3/3 images" in shown[""]
    assert "two workers" not in shown[""]


def test_an_interrupted_command_says_what_was_kept() -> None:
    @click.command()
    @one_line_errors
    def command() -> None:
        if_interrupted("7 finished shards are kept in out")
        raise KeyboardInterrupt

    result = CliRunner().invoke(command)
    assert result.exit_code == terminal.EXIT_INTERRUPTED
    assert result.output == "interrupted; 7 finished shards are kept in out\n"


@pytest.mark.parametrize(("columns", "term"), [(40, "xterm"), (100, "xterm"), (80, "dumb")])
def test_on_a_terminal_the_count_is_whole_at_any_width_and_warnings_stand_above_the_bar(
    columns: int, term: str
) -> None:
    script = """
import logging
from alexkit.cli import terminal
terminal._start_logging()
with terminal.progress("training", 1_281_167, "images") as update:
    update(0)
    update(1_281_000)
    logging.getLogger("alexkit").warning("the loss is that of guessing")
"""
    shown = on_a_terminal([sys.executable, "-c", script], columns, term)
    assert "1281000/1281167" in shown.replace(" ", "") and ", 0 images/s" not in shown
    assert "WARNING: the loss is that of guessing" in [line.strip() for line in re.split(r"\r|\n|\x1b\[2K", shown)]


def on_a_terminal(command: list[str], columns: int, term: str) -> str:
    """What `command` prints to a terminal of so many columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    with subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env={**environment, "TERM": term}
    ) as process:
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end was closed
            while chunk := os.read(leader, 65536):
                shown += chunk
        os.close(leader)
    assert process.returncode == 0, shown
    return shown.decode()


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


def test_a_command_called_from_python_leaves_the_log_level_as_it_was() -> None:
    @click.command()
    @one_line_errors
    def command() -> None:
        assert logging.getLogger("alexkit").level == logging.INFO

    before = logging.getLogger("alexkit").level
    assert CliRunner().invoke(command, ["-v"], catch_exceptions=False).exit_code == 0
    assert logging.getLogger("alexkit").level == before


def test_a_library_that_a_command_will_need_is_asked_for_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    require("json")
    monkeypatch.setattr("alexkit.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"drawing pictures needs Matplotlib: pip install 'alexkit\[report\]'"):
        require("matplotlib")


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (alexprep, "shard nowhere --max-pixels N"),
        (alexprep, "shard nowhere --size N"),
        (alexprep, "shard nowhere --part 1/N"),
        (alexprep, "shard nowhere --class-depth N"),
        (alexprep, "shard nowhere --seed N"),
        (alexprep, "demo-images {new} --train N"),
        (alexprep, "demo-images {new} --seed N"),
        (alexeval, "nowhere --batch-size N"),
        (alexeval, "codes nowhere --bits N"),
        (alextrain, "--shards nowhere --set training.epochs=N"),
    ],
)
def test_a_number_of_400_digits_is_a_mistake_of_the_user(program: click.Command, line: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(program, line.format(new=tmp_path / "new").replace("N", "9" * 400).split())
    assert isinstance(result.exception, SystemExit) and result.exit_code in (1, 2), result.exception
    assert "Error: " in result.output and not (tmp_path / "new").exists()


PRINT = """
import click
from alexkit.cli.streams import Program
from alexkit.cli.terminal import note, one_line_errors, progress
@click.group(cls=Program)
def group(): pass
@group.command()
@one_line_errors
def command():
    note("\\u2192 note")
    with progress("packing", 1, "images") as update:
        update(1)
    click.echo("caf\\u00e9 \\u2192 \\u2026 \\udce9")
    import subprocess, sys
    right_numbers = [sys.stdin.fileno(), sys.stdout.fileno(), sys.stderr.fileno()] == [0, 1, 2]
    inherited = "import os; [os.fstat(n) for n in range(3)]"
    subprocess.run([sys.executable, "-c", inherited], check=True, close_fds=False)
    print(open("/dev/null").fileno() > 2 and right_numbers)
group()
"""


@pytest.mark.parametrize(
    ("encoding", "streams", "printed"),
    [
        ("latin-1:strict", "", b"caf\xe9 ? ? ?\nTrue\n"),
        ("utf-8:strict", "", "café → … ".encode() + b"\xe9\nTrue\n"),
        ("utf-8", "2>&- <&-", "café → … ".encode() + b"\xe9\nTrue\n"),
        ("utf-8", "2>/dev/full", "café → … ".encode() + b"\xe9\nTrue\n"),
    ],
)
def test_closed_streams_and_letters_that_an_encoding_lacks_do_not_end_a_command(
    encoding: str, streams: str, printed: bytes
) -> None:
    command = ["sh", "-c", f'"$0" -c "$1" command {streams}', sys.executable, PRINT]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True)
    assert done.returncode == 0 and done.stdout == printed, done.stderr


@pytest.mark.parametrize("interrupted", [False, True])
def test_stderr_that_nobody_reads_any_more_does_not_end_a_command(interrupted: bool) -> None:
    script = PRINT.replace("update(1)", "raise KeyboardInterrupt") if interrupted else PRINT
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", script, "command"], stdout=subprocess.PIPE, stderr=writer)
    os.close(writer)
    assert done.returncode == (130 if interrupted else 0) and done.stdout.endswith(b"True\n") is not interrupted


def test_a_word_that_is_no_name_of_a_file_is_one_line(tmp_path: Path) -> None:
    refused = CliRunner().invoke(alexeval, ["x" * 300, "--shards", str(tmp_path)])
    assert refused.exit_code == 1 and isinstance(refused.exception, SystemExit) and "xxx" in refused.stderr


@pytest.mark.parametrize("part", ["²/4", "١/4", "1/²", "9" * 5000 + "/4", "4/4", "-1/4", "1"])
def test_a_part_is_two_plain_numbers(part: str) -> None:
    refused = CliRunner().invoke(alexprep, ["shard", "photos", "--part", part])
    assert refused.exit_code == 2 and "expected I/N with I from 0 to N - 1" in refused.stderr


def test_a_folder_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    refused = CliRunner().invoke(alexprep, ["shard", "photos"])
    monkeypatch.chdir(tmp_path)
    assert refused.exit_code == 1 and "the current folder was removed" in refused.stderr
