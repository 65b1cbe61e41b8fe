"""Shared by all commands: one-line errors, progress on stderr, a clean exit on SIGTERM.

Results go to stdout, errors and progress to stderr. Progress is a bar on a terminal and plain lines elsewhere.
"""

import atexit
import errno
import functools
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import ParamSpec, Protocol, TextIO, TypeVar, runtime_checkable

import click

from .. import __version__
from ..errors import InputError
from ..extras import explain

P = ParamSpec("P")
R = TypeVar("R")

SECONDS_BETWEEN_LINES = 10.0
SECONDS_UNTIL_A_RATE = 0.1
EXIT_INTERRUPTED = 130
NARROW = 64
"""Terminals of fewer columns show counts and rate without a bar."""

GROUP_SETTINGS = {"help_option_names": ["-h", "--help"]}
version_option = click.version_option(__version__, prog_name="alexkit")


def _remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.meta[_VERBOSITY] = parameter.name


_VERBOSITY, _KEPT, _STANDS_FOR = "alexkit.verbosity", "alexkit.kept", "alexkit.stands_for"
_flag = functools.partial(click.option, is_flag=True, is_eager=True, expose_value=False, callback=_remember)
COMMON_OPTIONS = (
    _flag("--debug", help="Log everything, and show the traceback of every error."),
    _flag("-v", "--verbose", help="Also log informational messages."),
    _flag("-q", "--quiet", help="Show only results, warnings and errors: no progress, no notes."),
)


@runtime_checkable
class Deferred(Protocol):
    """An argument value that is fetched when the command runs, so that its errors are one line and it is removed
    however the command ends, on SIGTERM too."""

    def fetch(self, context: click.Context) -> object:
        """The value that the command receives."""


def one_line_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command so that a user's mistake ends in a one-line error and a non-zero exit, not a traceback.

    The library raises InputError for wrong input, OSError for the disk, ImportError for a missing library. Anything
    else is a bug and keeps its traceback, for the bug report. SIGTERM ends a command like Ctrl-C. Adds the options
    that all commands have: `-q`, `-v` and `--debug`, which shows the traceback of every error.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if sys.platform == "win32":
            raise click.ClickException(
                "alexkit does not run on Windows; use WSL 2 or Linux (alexprep runs on macOS too)"
            )
        _start_logging()
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            for name, value in kwargs.items():
                if isinstance(value, Deferred):
                    kwargs[name] = value.fetch(click.get_current_context())
            return command(*args, **kwargs)
        except (InputError, OSError, ImportError) as error:
            ours = isinstance(error, ImportError) and (error.name or "").startswith("alexkit")
            closed = isinstance(error, BrokenPipeError)  # by `| head`; click ends the command silently
            if ours or closed or is_set("debug"):
                raise
            raise click.ClickException(
                " ".join(as_typed(words(error), of_disk=isinstance(error, OSError)).split())
            ) from error
        except KeyboardInterrupt:
            if is_set("debug"):
                raise
            click.echo(f"interrupted; {click.get_current_context().meta.get(_KEPT, _BEGIN_AGAIN)}", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None
        finally:
            _end_at_once_from_exit_on()

    for option in COMMON_OPTIONS:
        wrapped = option(wrapped)
    return wrapped


_BEGIN_AGAIN = "the same command continues or starts over"


def examples(*lines: str) -> str:
    """The epilog of a command: example command lines. A test runs each of them."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def is_set(option: str) -> bool:
    """Whether `quiet`, `verbose` or `debug` is in effect, of several the last one given; False outside a command."""
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(_VERBOSITY) == option


def note(words: str) -> None:
    """Print a line to stderr, unless --quiet is set."""
    if not is_set("quiet"):
        click.echo(words, err=True)


def warn(words: str) -> None:
    """Print a line to stderr, even with --quiet: what was left out or could not be read."""
    click.echo(as_typed(words), err=True)


def if_interrupted(words: str) -> None:
    """Set what Ctrl-C and SIGTERM print from now on: what was kept, and how to continue."""
    click.get_current_context().meta[_KEPT] = words


def stands_for(context: click.Context, folder: object, url: object, *, is_copy: bool = False) -> None:
    """Make errors and warnings show `url`, as the user typed it, instead of the local `folder` that stands for it.

    A copy is deleted when the command ends, so files in it are shown by the URL, too.
    """
    context.meta.setdefault(_STANDS_FOR, {})[str(folder)] = (str(url), is_copy)


def as_typed(text: str, *, of_disk: bool = False) -> str:
    """`text` with local folders replaced by the URLs that `stands_for` recorded.

    The folder itself and its splits are replaced; files below them keep their local paths, where they can be found. In
    a copy, files are replaced too, unless the text is `of_disk`: about this machine's disk.
    """
    context = click.get_current_context(silent=True)
    for folder, (url, is_copy) in (context.meta.get(_STANDS_FOR, {}) if context else {}).items():
        shown = url.replace("\\", r"\\")
        end = r"(?![\w.-])" if is_copy and not of_disk else r"(?=(/(train|val|test))?(?![/\w]))"
        text = re.sub(re.escape(folder) + end, shown, text)
    return text


def note_written(path: Path) -> None:
    """Print where a file was written, except in a copy, whose files are moved and reported when the command ends."""
    context = click.get_current_context(silent=True)
    copies = [
        folder for folder, (_, is_copy) in (context.meta.get(_STANDS_FOR, {}) if context else {}).items() if is_copy
    ]
    if not any(path.is_relative_to(folder) for folder in copies):
        note(f"wrote {path}")


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current sys.stderr, which a progress bar replaces in order to print lines above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr

    def format(self, record: logging.LogRecord) -> str:
        return as_typed(super().format(record))


class _Notes(logging.Handler):
    """Prints log records as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


def _start_logging() -> None:
    level = next((level for name, level in _LEVELS.items() if is_set(name)), logging.WARNING)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", handlers=[_StderrHandler()])
    logger = logging.getLogger("alexkit")
    before = logger.level
    logger.setLevel(level)
    waits = logging.getLogger("alexkit.prep.format.compiled")
    waits.setLevel(logging.INFO)  # show that the compiler is running even without --verbose
    waits.propagate, waits.handlers = False, [_Notes()]
    # A command called from Python restores the level when it ends.
    if context := click.get_current_context(silent=True):
        context.call_on_close(lambda: logger.setLevel(before))


_LEVELS = {"verbose": logging.INFO, "debug": logging.DEBUG}


def words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        room = "; make room, and the same command continues" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{error.filename}: {error.strerror}{room}"
    if isinstance(error, FileNotFoundError) and error.filename is None and not _is_somewhere():
        return "the current folder was removed or moved; cd to one that exists"
    return (explain(error) if isinstance(error, ImportError) else None) or str(error) or repr(error)


def _is_somewhere() -> bool:
    try:
        return bool(Path.cwd())
    except OSError:
        return False


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    """Show progress toward `total` units; yields `update(done, note="")`, where `done` is the number done so far.

    A terminal shows a bar with rate and ETA, anything else a plain line every ten seconds and one at the end. --quiet
    shows nothing.
    """
    if is_set("quiet"):
        yield lambda done, note="": None
        return
    live = sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    with (_bar if live else _lines)(what, total, unit) as update:
        yield update


@contextmanager
def _lines(what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    start = last = time.monotonic()
    first: int | None = None
    unsaid: tuple[int, str] | None = None

    def line(done: int, note: str) -> None:
        rate = _rate(done - (first or 0), start)
        eta = f", ETA {clock((total - done) / rate)}" if 0 < done < total and rate else ""
        speed = f", {rate:.{0 if rate >= 10 else 1}f} {unit}/s" if rate else ""
        click.echo(f"{what}: {done}/{total} {unit}{speed}{eta}{note and ', ' + note}", err=True)

    def update(done: int, note: str = "") -> None:
        nonlocal last, first, unsaid
        # A resumed run starts above zero; work done before does not count toward the rate.
        first = done if first is None else first
        unsaid = (done, note)
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last, unsaid = time.monotonic(), None
            line(done, note)

    yield update
    if unsaid:
        line(*unsaid)


@contextmanager
def _bar(what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

    console = Console(stderr=True)
    wide = console.width >= NARROW
    count = MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=len(f"{total}/{total}")))
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), count, TextColumn("{task.fields[rate]}")]
    if wide:
        columns.insert(1, BarColumn())
        columns += [TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.fields[note]}")]
    bar = Progress(*columns, console=console)
    start = time.monotonic()
    first: int | None = None
    with bar:
        task = bar.add_task(what, total=total, rate="", note="")

        def update(done: int, note: str = "") -> None:
            nonlocal first
            first = done if first is None else first
            rate = _rate(done - first, start)
            bar.update(
                task, completed=done, rate=f"{rate:.{0 if rate >= 10 else 1}f} {unit}/s" if rate else "", note=note
            )

        yield update


def _rate(done: int, start: float) -> float:
    """Units per second; 0 while none is done, and in the first moments, which say nothing about a rate."""
    seconds = time.monotonic() - start
    return done / seconds if seconds >= SECONDS_UNTIL_A_RATE else 0.0


def clock(seconds: float) -> str:
    """Seconds as H:MM:SS or M:SS."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@functools.cache
def _end_at_once_from_exit_on() -> None:
    """Let SIGTERM and Ctrl-C end the process once it exits.

    An exception would be raised in a library that is being unloaded, which takes seconds, and shown with its traceback.
    """

    def forget_handlers() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            if callable(signal.getsignal(number)):  # not if it is ignored
                signal.signal(number, signal.SIG_DFL)

    atexit.register(forget_handlers)
