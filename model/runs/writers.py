"""Where a run's numbers and pictures go besides `log.jsonl`: TensorBoard, Weights & Biases, trackio.

A record is never needed to resume a run, and a tracking service that cannot be reached does not end one: the first
thing that a writer raises after its start is logged, and it gets no more of that run.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ...errors import InputError
from ...extras import explained_imports

if TYPE_CHECKING:
    pass

WriterName = Literal["tensorboard", "wandb", "trackio"]
"""The writers that `training.log` may name."""

PROJECT = "alexkit"
HPARAM_METRICS = ("val/top1_error", "val/loss", "train/loss")
"""The scalars that TensorBoard shows beside the hyperparameters of runs."""
logger = logging.getLogger(__name__)


class Writer(Protocol):
    """What a run tells a tracker, in this order: `start`, any number of the next two, `finish`."""

    def start(self, config: Mapping[str, Any]) -> None:
        """Begin, or go on with, the record of a run with this resolved recipe."""

    def scalars(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of one step; `kind` is "train" or "val"."""

    def image(self, name: str, step: int, path: Path) -> None:
        """A PNG file, as it is at this step."""

    def finish(self) -> None:
        """End the record, or this process's part of it."""


class TensorBoardWriter:
    """Event files in `folder/tensorboard`; what a killed run wrote after `step` is hidden."""

    def __init__(self, folder: Path, step: int) -> None:
        with explained_imports():
            from torch.utils.tensorboard import SummaryWriter
        self._board: SummaryWriter = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def start(self, config: Mapping[str, Any]) -> None:
        """Show the recipe as a table among the texts, and its keys among the hyperparameters, to sort runs by."""
        from torch.utils.tensorboard.summary import hparams

        keys = {k: x if isinstance(x, bool | int | float | str) else str(x) for k, x in flat(config).items()}
        # Not add_hparams, which makes another run of them, without the curves.
        for summary in hparams(keys, dict.fromkeys(HPARAM_METRICS)):  # type: ignore[no-untyped-call]
            self._board._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
        rows = "".join(f"|{key}|{value}|\n" for key, value in flat(config).items())
        self._board.add_text("recipe", f"|key|value|\n|---|---|\n{rows}")

    def scalars(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def image(self, name: str, step: int, path: Path) -> None:
        import numpy as np
        from PIL import Image

        self._board.add_image(name, np.asarray(Image.open(path).convert("RGB")), step, dataformats="HWC")

    def finish(self) -> None:
        self._board.close()


class TrackedRun:
    """A run of Weights & Biases or of trackio, which have one interface; it is called like the run's folder.

    Args:
        module: "wandb" or "trackio".
        folder: the run folder; wandb keeps its files there.
    """

    def __init__(self, module: Literal["wandb", "trackio"], folder: Path) -> None:
        with explained_imports():
            self._library: ModuleType = __import__(module)
        self._module, self._folder = module, folder.resolve()

    def start(self, config: Mapping[str, Any]) -> None:
        options: dict[str, Any] = {"project": PROJECT, "name": self._folder.name, "config": flat(config)}
        if self._module == "wandb":
            options |= {"dir": self._folder, "id": self._folder.name, "resume": "allow"}
        else:
            options |= {"resume": "allow", "embed": False}
        self._library.init(**options)

    def scalars(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        self._library.log({f"{kind}/{name}": value for name, value in numbers.items()}, step=step)

    def image(self, name: str, step: int, path: Path) -> None:
        self._library.log({name: self._library.Image(str(path))}, step=step)

    def finish(self) -> None:
        self._library.finish()


class Writers:
    """Several writers as one. The first thing that fails silences its writer, with a warning, and not the run."""

    def __init__(self, names: Sequence[WriterName], folder: Path, step: int) -> None:
        self._writers: dict[str, Writer] = {}
        for name in names:
            self._writers[name] = TensorBoardWriter(folder, step) if name == "tensorboard" else TrackedRun(name, folder)

    def start(self, config: Mapping[str, Any]) -> None:
        """Begin all records. Raises InputError when one does not start: wrong credentials are known before the run."""
        for name, writer in self._writers.items():
            try:
                writer.start(config)
            except Exception as error:  # a tracker may raise anything
                raise InputError(f"training.log: {name} does not start ({error}); set it up or leave it out") from error

    def scalars(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Give numbers to all."""
        self._each("scalars", kind, step, numbers)

    def image(self, name: str, step: int, path: Path) -> None:
        """Give a picture to all."""
        self._each("image", name, step, path)

    def finish(self) -> None:
        """End all records."""
        self._each("finish")
        self._writers.clear()

    def _each(self, method: str, *arguments: object) -> None:
        for name, writer in list(self._writers.items()):
            try:
                getattr(writer, method)(*arguments)
            except Exception as error:  # a tracker may raise anything; its record is not worth the run
                logger.warning("%s gets no more of this run: %s", name, error)
                del self._writers[name]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, `training.rate` for the key `rate` in `training`."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return result
