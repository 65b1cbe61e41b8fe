"""Learning rates over a run, as pure functions of what has been seen so far."""

from math import cos, pi
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ...errors import InputError
from ..network.switches import CHECKED

ScheduleKind = Literal["plateau", "steps", "quarters", "cosine", "linear", "constant"]
READ_BY: dict[str, tuple[ScheduleKind, ...]] = {
    "divide_by": ("plateau", "steps", "quarters"),
    "drops": ("plateau",),
    "patience": ("plateau",),
    "min_gain": ("plateau",),
    "at_epochs": ("steps",),
}
"""The kinds of schedule that read a key, where not all of them do."""


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Schedule:
    """How `training.rate` falls from its start. Raises ValueError for numbers that make no schedule."""

    kind: ScheduleKind = "plateau"
    """`plateau`: divided when the validation error has stopped falling (the paper's rule, with the eye replaced by
    numbers). `steps`: divided after the epochs `at_epochs`. `quarters`: four equal quarters of the run, each with the
    rate of the one before divided. `cosine` and `linear`: from the full rate to none, step by step. `constant`: not
    at all."""
    divide_by: Annotated[float, Field(gt=1)] = 10.0
    """What the rate is divided by; 6.3 in the released net 170."""
    drops: Annotated[int, Field(ge=0)] = 3
    """`plateau`: how often the rate is divided at most."""
    patience: Annotated[int, Field(ge=1)] = 5
    """`plateau`: validations in a row without a gain before the rate is divided. While the network only guesses, with
    an error no lower than of always answering the commonest class and a loss about that of class sizes, ln(classes)
    where they are equal, none is counted: it has not begun to learn."""
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.005
    """`plateau`: how much lower than the best, relative to it, an error rate must be to count as a gain."""
    at_epochs: tuple[int, ...] = ()
    """`steps`: finished epochs after which the rate is divided, increasing."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs in which the rate first rises linearly from almost nothing."""

    def __post_init__(self) -> None:
        if list(self.at_epochs) != sorted(set(self.at_epochs)) or min(self.at_epochs, default=0) < 0:
            raise InputError(f"schedule.at_epochs must rise from 0 or more, got {list(self.at_epochs)}")
        if self.kind == "steps" and not self.at_epochs:
            raise InputError("schedule 'steps' needs at_epochs, e.g. at_epochs = [24, 50, 78]")

    def factor(self, *, epoch: float, epochs: int, drops: int) -> float:
        """What the starting rate is multiplied by at `epoch` (fractions count steps) of `epochs`.

        `drops` is the number of plateaus so far; only the plateau schedule reads it.
        """
        if epoch < self.warmup_epochs:
            return max(epoch / self.warmup_epochs, 1e-3)
        fraction = epoch / epochs
        match self.kind:
            case "plateau":
                return self.divide_by**-drops
            case "steps":
                return self.divide_by ** -sum(epoch >= start for start in self.at_epochs)
            case "quarters":
                return self.divide_by ** -min(int(4 * fraction), 3)
            case "cosine":
                return (1 + cos(pi * min(fraction, 1.0))) / 2
            case "linear":
                return max(1 - fraction, 0.0)
            case "constant":
                return 1.0


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Plateau:
    """The plateau schedule's memory."""

    best: float = 1.0
    """The last error rate that was a real gain, 0-1."""
    waited: int = 0
    """Validations since then, or since the last drop."""
    drops: int = 0
    """How often the rate has been divided."""

    def after(self, error: float, schedule: Schedule, *, guessing: bool = False) -> "Plateau":
        """The memory after a validation with this error rate.

        While the network is only `guessing` nothing has been learned yet, so nothing can have stopped: a network that
        stalls at its start keeps its rate.
        """
        if guessing:
            return self
        if error < self.best * (1 - schedule.min_gain):
            return Plateau(best=error, waited=0, drops=self.drops)
        if self.waited + 1 >= schedule.patience and self.drops < schedule.drops:
            return Plateau(best=self.best, waited=0, drops=self.drops + 1)
        return Plateau(best=self.best, waited=self.waited + 1, drops=self.drops)
