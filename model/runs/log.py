"""The log of a run: one JSON line per interval and per epoch; the same numbers go to its writers."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from ...prep.format.files import whole_file
from .checked import is_number
from .run import DAMAGED_LOG, LOG
from .writers import WriterName, Writers

# The keys that a line of each kind must have, besides its kind.
_KEYS = {
    "train": {"step", "loss", "top1_error", "rate"},
    "val": {"step", "loss", "top1_error"},
}

logger = logging.getLogger(__name__)


class RunLog:
    """Append to `log.jsonl` and pass the numbers to the run's writers.

    Lines that a killed run logged after `step` are dropped first. Damaged lines are moved to `log.damaged`, with a
    warning: the log is a record, never needed to resume.

    Args:
        folder: the run folder; None, as in all processes but the first, writes nothing.
        step: finished steps.
        writers: the writers listed in `training.log`.
        config: the resolved recipe, shown by the writers.
    """

    def __init__(
        self,
        folder: Path | None,
        step: int,
        *,
        writers: Sequence[WriterName] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.file: TextIO | None = None
        if folder is None:
            return
        path = folder / LOG
        if step and not path.exists():
            logger.warning("%s: missing; starting a new log after step %d", path, step)
        sound, damaged = read_lines(path)
        if damaged:
            moved = path.with_name(DAMAGED_LOG)
            with moved.open("ab") as file:
                file.write(b"".join(line + b"\n" for line in damaged))
            logger.warning("%s: %d damaged lines, moved to %s", path, len(damaged), moved.name)
        with whole_file(path) as file:
            file.write("".join(json.dumps(line) + "\n" for line in sound if line["step"] <= step).encode())
        self.writers = Writers(writers, folder, step)
        self.writers.start(config or {})
        self.file = path.open("a")

    def write(self, kind: str, step: int, **numbers: float) -> None:
        """Write one line; `kind` is "train" (an interval of steps) or "val" (the validation of an epoch)."""
        if self.file is None:
            return
        try:
            self.file.write(json.dumps({"kind": kind, "step": step, **numbers}) + "\n")
            self.file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.file.name) from None
        self.writers.scalars(kind, step, numbers)

    def image(self, name: str, step: int, path: Path) -> None:
        """Pass a PNG file, which is already in the run folder, to the writers."""
        if self.file is not None:
            self.writers.image(name, step, path)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.file is not None:
            self.file.close()
            self.writers.finish()


def read_log(path: Path) -> list[dict[str, Any]]:
    """All intact lines of a log; damaged ones are left out, since the log is only a record."""
    return read_lines(path)[0]


def read_lines(path: Path) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The intact lines of a log, parsed, and the damaged ones as bytes; an unfinished last line is in neither."""
    if not path.exists():
        return [], []
    *whole, _cut_off = path.read_bytes().split(b"\n")
    sound, damaged = [], []
    for line in whole:
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            data = None
        if _is_sound(data):
            sound.append(data)
        else:
            damaged.append(line)
    return sound, damaged


def _is_sound(line: Any) -> bool:
    if not isinstance(line, dict) or not isinstance(line.get("step"), int):
        return False
    kind = line.get("kind")
    needed = _KEYS.get(kind) if isinstance(kind, str) else None
    if needed is None:
        return False
    return needed <= line.keys() and all(is_number(value) for key, value in line.items() if key != "kind")
