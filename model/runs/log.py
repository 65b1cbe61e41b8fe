"""What a run writes about itself: one JSON line per interval and per epoch, and the same numbers for TensorBoard."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from ...errors import InputError
from ...prep.format.files import whole_file
from .run import LOG

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter as Board

    from ...pipeline import Batch, Loader


class RunLog:
    """Appends to `log.jsonl` and `tensorboard/`. Lines behind `step`, of a run that was killed, are dropped first.

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


class Counted(Protocol):
    """What one training step tells: its mean loss, the norm of its gradient, wrong first guesses, images."""

    @property
    def loss(self) -> float: ...
    @property
    def gradient_norm(self) -> float: ...
    @property
    def wrong(self) -> int: ...
    @property
    def images(self) -> int: ...


class Interval:
    """Sums over the steps since the last log line, and where their time went."""

    def __init__(self) -> None:
        self.restart()

    def restart(self, sums: Sequence[float] = (0.0, 0.0, 0, 0, 0)) -> None:
        """Begin anew, or where `sums` were taken; the clock always begins anew."""
        self.loss_sum, self.norm_sum, self.wrong, self.images, self.steps = sums
        self.timed_images, self.wait_s, self.start = 0, 0.0, time.monotonic()

    def sums(self) -> list[float]:
        """What a checkpoint keeps, so that log lines of a continued run are those of one that was not stopped."""
        return [self.loss_sum, self.norm_sum, self.wrong, self.images, self.steps]

    def timed(self, loader: "Loader") -> Iterator["Batch"]:
        """The loader's batches; the time spent waiting for them is counted."""
        batches = iter(loader)
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self.wait_s += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def add(self, step: Counted) -> None:
        """Count one step."""
        self.loss_sum += step.loss
        self.norm_sum += step.gradient_norm
        self.wrong += step.wrong
        self.images += step.images
        self.timed_images += step.images
        self.steps += 1

    def numbers(self) -> dict[str, float]:
        """Mean loss, error rate of the first guess, images/s and the share of time spent waiting for data."""
        seconds = max(time.monotonic() - self.start, 1e-9)
        return {
            "loss": self.loss_sum / self.steps,
            "top1_error": self.wrong / self.images,
            "gradient_norm": self.norm_sum / self.steps,
            "images_per_s": self.timed_images / seconds,
            "wait_share": self.wait_s / seconds,
        }


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
