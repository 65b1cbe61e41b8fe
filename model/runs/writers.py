"""Writers for a run's numbers and pictures besides `log.jsonl`: TensorBoard, Weights & Biases, trackio.

Their records are never needed to resume a run, and an unreachable tracking service does not end one: the first
exception that a writer raises after its start is logged, and that writer is disabled for the rest of the run.
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
"""The writers that `training.log` may list."""

PROJECT = "alexkit"
HPARAM_METRICS = ("val/top1_error", "val/loss", "train/loss")
"""The scalars that TensorBoard shows beside the runs' hyperparameters."""
logger = logging.getLogger(__name__)


class Writer(Protocol):
    """The interface of a tracker, called in this order: `start`, any number of `scalars` and `image`, `finish`."""

    def start(self, config: Mapping[str, Any]) -> None:
        """Start or resume the record of a run with this resolved recipe."""

    def scalars(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Record the numbers of one step; `kind` is "train" or "val"."""

    def image(self, name: str, step: int, path: Path) -> None:
        """Record a PNG file as of this step."""

    def finish(self) -> None:
        """Close the record."""


class TensorBoardWriter:
    """Event files in `folder/tensorboard`; events that a killed run wrote after `step` are hidden."""

    def __init__(self, folder: Path, step: int) -> None:
        with explained_imports():
            from torch.utils.tensorboard import SummaryWriter
        self._board: SummaryWriter = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def start(self, config: Mapping[str, Any]) -> None:
        """Show the recipe as a table among the texts, and its keys as hyperparameters for sorting runs."""
        from torch.utils.tensorboard.summary import hparams

        keys = {k: x if isinstance(x, bool | int | float | str) else str(x) for k, x in flat(config).items()}
        # add_hparams would create a separate run for them, without the curves.
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
    """A run in Weights & Biases or trackio, which share an interface; it is named after the run folder.

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
    """Several writers as one. A writer's first failure disables that writer, with a warning; the run continues."""

    def __init__(self, names: Sequence[WriterName], folder: Path, step: int) -> None:
        self._writers: dict[str, Writer] = {}
        for name in names:
            self._writers[name] = TensorBoardWriter(folder, step) if name == "tensorboard" else TrackedRun(name, folder)

    def start(self, config: Mapping[str, Any]) -> None:
        """Start all records. Raises InputError if one does not start, so that wrong credentials show before the run."""
        for name, writer in self._writers.items():
            try:
                writer.start(config)
            except Exception as error:  # a tracker may raise anything
                raise InputError(f"training.log: {name} does not start ({error}); set it up or omit it") from error

    def scalars(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Pass numbers to all writers."""
        self._each("scalars", kind, step, numbers)

    def image(self, name: str, step: int, path: Path) -> None:
        """Pass a picture to all writers."""
        self._each("image", name, step, path)

    def finish(self) -> None:
        """Close all records."""
        self._each("finish")
        self._writers.clear()

    def _each(self, method: str, *arguments: object) -> None:
        for name, writer in list(self._writers.items()):
            try:
                getattr(writer, method)(*arguments)
            except Exception as error:  # a tracker may raise anything; its record is not worth the run
                logger.warning("%s is disabled for the rest of this run: %s", name, error)
                del self._writers[name]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables; the key `rate` in `training` becomes `training.rate`."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return result
