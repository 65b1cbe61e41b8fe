"""Standard streams that can take what a command prints: open, and never failing for a letter that they do not know."""

import io
import os
import sys
from typing import Any

import click


class Program(click.Group):
    """A group of commands as it is started by its name: before its line is read, its streams are made ready."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click's."""
        open_missing_streams()
        for stream in (sys.stdout, sys.stderr):
            never_fail(stream)
        return super().main(*args, **kwargs)


def open_missing_streams() -> None:
    """Open /dev/null for standard streams that the caller closed, as by `2>&-`.

    Python has None for them, and the next file that is opened would get their number and what libraries write to it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free: this one. Processes that are started get it too.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def never_fail(stream: object) -> None:
    """Print `?` for letters that an encoding such as Latin-1 lacks; in UTF-8 names that are none keep their bytes."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
        stream.reconfigure(errors="surrogateescape" if is_utf8 else "replace")
