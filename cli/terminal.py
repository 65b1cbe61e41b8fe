"""What all commands share: errors in one line, progress on stderr, an orderly end on SIGTERM.

Results go to stdout; progress and errors go to stderr, as a bar on a terminal and as plain lines elsewhere.
"""

import errno
import functools
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ParamSpec, TypeVar

import click

from ..errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

SECONDS_BETWEEN_LINES = 10.0
EXIT_INTERRUPTED = 130


def one_line_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command: what a user can get wrong ends in one clear line and a non-zero exit, never a traceback.

    The library raises InputError for wrong input, OSError for the disk, ImportError for a missing part; anything else
    is our mistake and keeps its traceback, because we want the report. SIGTERM ends a command like Ctrl-C.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            return command(*args, **kwargs)
        except (InputError, OSError, ImportError) as error:
            raise click.ClickException(" ".join(_words(error).split())) from error
        except KeyboardInterrupt:
            click.echo("interrupted; the same command continues what was begun, or begins again", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None

    return wrapped


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        room = "; make room, the same command continues" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{error.filename}: {error.strerror}{room}"
    return str(error)


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    """Show how far `total` units have come; yields `update(done, note="")`, where `done` counts from the start.

    A terminal gets a bar with rate and ETA, anything else a plain line every ten seconds and one at the end.
    """
    with (_bar if sys.stderr.isatty() else _lines)(what, total, unit) as update:
        yield update


@contextmanager
def _lines(what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    start = last = time.monotonic()
    first: int | None = None
    unsaid: tuple[int, str] | None = None

    def line(done: int, note: str) -> None:
        seconds = time.monotonic() - start
        rate = (done - (first or 0)) / max(seconds, 1e-9)
        eta = f", ETA {clock((total - done) / rate)}" if 0 < done < total and rate > 0 else ""
        click.echo(f"{what}: {done}/{total} {unit}, {rate:.0f} {unit}/s{eta}{note and ', ' + note}", err=True)

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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
    start = time.monotonic()
    first: int | None = None
    with bar:
        task = bar.add_task(what, total=total, rate="", note="")

        def update(done: int, note: str = "") -> None:
            nonlocal first
            first = done if first is None else first
            rate = (done - first) / max(time.monotonic() - start, 1e-9)
            bar.update(task, completed=done, rate=f"{rate:.0f} {unit}/s", note=note)

        yield update


def clock(seconds: float) -> str:
    """Seconds as H:MM:SS or M:SS."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
