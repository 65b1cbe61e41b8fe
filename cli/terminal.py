"""What all commands share: errors in one line, progress on stderr, an orderly end on SIGTERM.

Results go to stdout; progress and errors go to stderr, as a bar on a terminal and as plain lines elsewhere.
"""

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
    _flag("-v", "--verbose", help="Log what is decided on the way."),
    _flag("-q", "--quiet", help="Show results, warnings and errors only: no progress, no notes."),
)


@runtime_checkable
class Deferred(Protocol):
    """A value of an argument that is fetched when the command runs: there its errors are one line, and SIGTERM and
    whatever else ends the command removes it."""

    def fetch(self, context: click.Context) -> object:
        """What the command gets for it."""


def one_line_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command: what a user can get wrong ends in one clear line and a non-zero exit, never a traceback.

    The library raises InputError for wrong input, OSError for the disk, ImportError for a missing library; anything
    else is our mistake and keeps its traceback, because we want the report. SIGTERM ends a command like Ctrl-C. Adds
    the options that all commands have: `-q`, `-v` and, to see the traceback of every error, `--debug`.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if sys.platform == "win32":
            raise click.ClickException("alexkit runs on Linux, its preparation on macOS too; on Windows use WSL 2")
        _start_logging()
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            for name, value in kwargs.items():
                if isinstance(value, Deferred):
                    kwargs[name] = value.fetch(click.get_current_context())
            return command(*args, **kwargs)
        except (InputError, OSError, ImportError) as error:
            ours = isinstance(error, ImportError) and (error.name or "").startswith("alexkit")
            closed = isinstance(error, BrokenPipeError)  # by `| head`; click ends the command in silence
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

    for option in COMMON_OPTIONS:
        wrapped = option(wrapped)
    return wrapped


_BEGIN_AGAIN = "the same command continues what was begun, or begins again"


def examples(*lines: str) -> str:
    """The epilog of a command: command lines as a person types them. A test runs every one."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def is_set(option: str) -> bool:
    """Whether the running command was given `quiet`, `verbose` or `debug`; False outside a command."""
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(_VERBOSITY) == option


def note(words: str) -> None:
    """A line for the person who watches, on stderr; --quiet leaves it out."""
    if not is_set("quiet"):
        click.echo(words, err=True)


def warn(words: str) -> None:
    """A line on stderr that --quiet shows too: what was left out, or could not be read."""
    click.echo(as_typed(words), err=True)


def if_interrupted(words: str) -> None:
    """What Ctrl-C or SIGTERM shall say from now on: what was kept, and how to go on."""
    click.get_current_context().meta[_KEPT] = words


def stands_for(context: click.Context, folder: object, address: object, *, is_copy: bool = False) -> None:
    """Let errors and warnings name `address`, which a person typed, in place of the local folder that stands for it.

    Of a copy, which is gone when the command ends, they name the files by the address too.
    """
    context.meta.setdefault(_STANDS_FOR, {})[str(folder)] = (str(address), is_copy)


def as_typed(text: str, *, of_disk: bool = False) -> str:
    """`text` with addresses as `stands_for` has them; other files keep their paths, since they lie there.

    So do all files where the text is `of_disk`: of this machine's.
    """
    context = click.get_current_context(silent=True)
    for folder, (address, is_copy) in (context.meta.get(_STANDS_FOR, {}) if context else {}).items():
        shown = address.replace("\\", r"\\")
        end = r"(?![\w.-])" if is_copy and not of_disk else r"(?=(/(train|val|test))?(?![/\w]))"
        text = re.sub(re.escape(folder) + end, shown, text)
    return text


def note_written(path: Path) -> None:
    """Say where a file was written; of one in a copy the end of the command says where it is moved."""
    context = click.get_current_context(silent=True)
    copies = [
        folder for folder, (_, is_copy) in (context.meta.get(_STANDS_FOR, {}) if context else {}).items() if is_copy
    ]
    if not any(path.is_relative_to(folder) for folder in copies):
        note(f"wrote {path}")


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever sys.stderr is at the time: a progress bar puts lines above itself by replacing it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr

    def format(self, record: logging.LogRecord) -> str:
        return as_typed(super().format(record))


class _Notes(logging.Handler):
    """Shows what is logged as a `note`."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


def _start_logging() -> None:
    level = next((level for name, level in _LEVELS.items() if is_set(name)), logging.WARNING)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", handlers=[_StderrHandler()])
    logger = logging.getLogger("alexkit")
    before = logger.level
    logger.setLevel(level)
    waits = logging.getLogger("alexkit.prep.format.compiled")
    waits.setLevel(logging.INFO)  # a person who waits for a compiler is told so without asking
    waits.propagate, waits.handlers = False, [_Notes()]
    # A command that is called from Python leaves the level as it was.
    if context := click.get_current_context(silent=True):
        context.call_on_close(lambda: logger.setLevel(before))


_LEVELS = {"verbose": logging.INFO, "debug": logging.DEBUG}


def words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        room = "; make room, the same command continues" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{error.filename}: {error.strerror}{room}"
    if isinstance(error, FileNotFoundError) and error.filename is None and not _is_somewhere():
        return "the current folder was removed or moved away; change to one that is there, with cd"
    return (explain(error) if isinstance(error, ImportError) else None) or str(error) or repr(error)


def _is_somewhere() -> bool:
    try:
        return bool(Path.cwd())
    except OSError:
        return False


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    """Show how far `total` units have come; yields `update(done, note="")`, where `done` counts from the start.

    A terminal gets a bar with rate and ETA, anything else a plain line every ten seconds and one at the end; --quiet
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
        # A continued run starts above zero: what was there before does not count into the rate.
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
    """Units a second; 0 while none is done, when nothing can be said yet."""
    return done / max(time.monotonic() - start, 1e-9)


def clock(seconds: float) -> str:
    """Seconds as H:MM:SS or M:SS."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
