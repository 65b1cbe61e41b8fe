"""The progress of a run: what a checkpoint stores besides tensors and the loader's position."""

from dataclasses import field, replace
from typing import Any

from pydantic.dataclasses import dataclass

from ..network.precision import LossScale
from ..network.switches import CHECKED
from .checked import from_data, to_data
from .schedule import Plateau


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class IntervalSums:
    """Sums over the steps since the last log line, so that a resumed run logs the same as an uninterrupted one."""

    loss: float = 0.0
    """Sum of the steps' mean losses."""
    gradient_norm: float = 0.0
    """Sum of the steps' gradient norms."""
    wrong: int = 0
    """Images whose first guess was wrong."""
    images: int = 0
    """Images seen."""
    steps: int = 0
    """Steps summed over."""


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Validation:
    """The result of a validation."""

    images: int
    """Images scored."""
    rates: dict[str, float]
    """Loss and error rates, as they are logged."""
    split: str = ""
    """The split of the set; empty in checkpoints of older versions."""
    statistics_sha256: str = ""
    """The hash of the set's statistics, as in its manifest; empty in checkpoints of older versions."""

    def to_json(self) -> dict[str, float | str]:
        """Plain data, as one flat table."""
        known = {"split": self.split, "statistics_sha256": self.statistics_sha256} if self.statistics_sha256 else {}
        return {**known, "images": self.images, **self.rates}


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Best:
    """The validation with the lowest top-1 error so far."""

    error: float
    """The top-1 error, 0-1."""
    step: int
    """The step at which it was measured; the checkpoint of this step is kept."""


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Progress:
    """The state of a run between two steps; immutable, so every update makes a new one."""

    plateau: Plateau = field(default_factory=Plateau)
    """The state of the plateau schedule."""
    best: Best | None = None
    """None before the first validation."""
    validated: int = 0
    """The last epoch whose end-of-epoch work (validation, checkpoint) has been done."""
    last_validation: Validation | None = None
    """None before the first."""
    interval: IntervalSums = field(default_factory=IntervalSums)
    """Sums for the next log line."""
    epoch_wrong: int = 0
    """Images of this epoch, up to the last log line, whose first guess was wrong."""
    epoch_images: int = 0
    """Images of this epoch, up to the last log line."""
    loss_scale: LossScale = field(default_factory=LossScale)
    """The loss scale of float16."""
    guessing_since: int = 0
    """The last logged step at which the network did better than guessing."""
    stall_reported: bool = False
    """Whether the warning about a stalled network has been logged."""

    def counted(self, sums: IntervalSums) -> "Progress":
        """Add the images of a log line to the counts of the epoch."""
        return replace(self, epoch_wrong=self.epoch_wrong + sums.wrong, epoch_images=self.epoch_images + sums.images)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Progress.from_json` is the inverse."""
        data: dict[str, Any] = to_data(self)
        return data

    @classmethod
    def from_json(cls, data: Any, *, where: str) -> "Progress":
        """Check and build. Raises InputError naming `where` and the wrong key."""
        return from_data(cls, data, where=where)
