"""Standard streams that are safe to print to: always open, with no error for a character their encoding lacks.

Progress, notes and warnings go to stderr. If nobody can read them any more, that does not end a command.
"""

import io
import os
import sys
from typing import Any

import click


class Program(click.Group):
    """A command group that prepares its standard streams before it parses the command line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Prepare the streams, then run click's `main`."""
        open_missing_streams()
        drop_unread_stderr()
        for stream in (sys.stdout, sys.stderr):
            never_fail(stream)
        return super().main(*args, **kwargs)


def open_missing_streams() -> None:
    """Open /dev/null for standard streams that the caller closed, e.g. by `2>&-`.

    Python sets such a stream to None, and the next file opened would get its file descriptor and whatever libraries
    write to it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # os.open takes the lowest free descriptor: this one. Child processes inherit it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def drop_unread_stderr() -> None:
    """Drop what cannot be written to stderr: its terminal or the reader of its pipe is gone, or its disk is full."""
    stream = sys.stderr
    if stream is sys.__stderr__ and isinstance(stream, io.TextIOWrapper):  # not one that a caller put there
        file = io.BufferedWriter(_Unfailing(stream.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(file, stream.encoding, stream.errors, line_buffering=True)


class _Unfailing(io.FileIO):
    def write(self, content: Any) -> int:
        try:
            written = super().write(content)
        except OSError:
            written = None
        return len(content) if written is None else written


def never_fail(stream: object) -> None:
    """Print `?` for characters that an encoding such as Latin-1 lacks; in UTF-8, undecodable names keep their bytes."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
        stream.reconfigure(errors="surrogateescape" if is_utf8 else "replace")
