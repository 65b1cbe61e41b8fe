"""How far a run has come and what it has seen: what a checkpoint keeps besides tensors and the loader's position."""

from dataclasses import field, replace
from typing import Any

from pydantic.dataclasses import dataclass

from ..network.precision import LossScale
from ..network.switches import CHECKED
from .checked import from_data, to_data
from .schedule import Plateau


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class IntervalSums:
    """Sums over the steps since the last log line, so that a resumed run logs what one never stopped would."""

    loss: float = 0.0
    """Of the steps' mean losses."""
    gradient_norm: float = 0.0
    """Of the steps' gradient norms."""
    wrong: int = 0
    """Images whose first guess was wrong."""
    images: int = 0
    """Images seen."""
    steps: int = 0
    """Steps made."""


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Validation:
    """What a validation found."""

    images: int
    """Images scored."""
    rates: dict[str, float]
    """Loss and error rates, as they are logged."""

    def to_json(self) -> dict[str, float]:
        """One flat table."""
        return {"images": self.images, **self.rates}


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Best:
    """The validation with the lowest top-1 error so far."""

    error: float
    """Its error, 0-1."""
    step: int
    """The step it was made at, whose checkpoint is kept."""


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Progress:
    """The state of a run between two steps; a new one replaces it when something has happened."""

    plateau: Plateau = field(default_factory=Plateau)
    """The plateau schedule's memory."""
    best: Best | None = None
    """None before the first validation."""
    validated: int = 0
    """The last epoch after which all that follows an epoch is done."""
    last_validation: Validation | None = None
    """None before the first."""
    interval: IntervalSums = field(default_factory=IntervalSums)
    """Of the next log line."""
    epoch_wrong: int = 0
    """Images of this epoch whose first guess was wrong, up to the last log line."""
    epoch_images: int = 0
    """Images of this epoch up to the last log line."""
    loss_scale: LossScale = field(default_factory=LossScale)
    """float16's."""
    guessing_since: int = 0
    """The last step whose loss was better than guessing."""
    stall_reported: bool = False
    """Whether it has been said that the network only guesses."""

    def counted(self, sums: IntervalSums) -> "Progress":
        """With the steps of a log line counted into the epoch."""
        return replace(self, epoch_wrong=self.epoch_wrong + sums.wrong, epoch_images=self.epoch_images + sums.images)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Progress.from_json` is the inverse."""
        data: dict[str, Any] = to_data(self)
        return data

    @classmethod
    def from_json(cls, data: Any, *, where: str) -> "Progress":
        """Check and build. Raises InputError naming `where` and the key that is wrong."""
        return from_data(cls, data, where=where)
