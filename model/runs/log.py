"""What a run writes about itself: one JSON line per interval and per epoch, and the same numbers for TensorBoard."""

import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from ...errors import InputError
from ...prep.format.files import whole_file
from .run import LOG

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter as Board


class RunLog:
    """Appends to `log.jsonl` and `tensorboard/`. Lines after `step`, of a run that was killed, are dropped first.

    Without a folder it writes nothing: the log of all processes but the first.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self.file: TextIO | None = None
        self.board: Board | None = None
        if folder is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        path = folder / LOG
        lines = [json.dumps(line) + "\n" for line in read_log(path) if line["step"] <= step]
        with whole_file(path) as file:
            file.write("".join(lines).encode())
        self.file = path.open("a")
        self.board = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def write(self, kind: str, step: int, **numbers: float) -> None:
        """One line: `kind` is "train" (an interval of steps) or "val" (an epoch's validation)."""
        if self.file is None or self.board is None:
            return
        self.file.write(json.dumps({"kind": kind, "step": step, **numbers}) + "\n")
        self.file.flush()
        for name, value in numbers.items():
            self.board.add_scalar(f"{kind}/{name}", value, step)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.file is not None and self.board is not None:
            self.file.close()
            self.board.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a log; a last line cut off by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    result = []
    for number, line in enumerate(lines):
        try:
            result.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines) - 1:
                raise InputError(f"{path}: line {number + 1} is not JSON; remove it") from None
    return result
