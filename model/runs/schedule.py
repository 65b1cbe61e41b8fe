"""Learning rate schedules, as pure functions of the progress so far."""

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
"""The kinds of schedule that use a key, for keys that not all of them use."""


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Schedule:
    """How the learning rate decays from `training.rate`. Raises ValueError for inconsistent settings."""

    kind: ScheduleKind = "plateau"
    """`plateau`: divided when the validation error stops improving (the paper's rule, with numbers in place of the
    eye). `steps`: divided after the epochs in `at_epochs`. `quarters`: divided after each quarter of the run. `cosine`
    and `linear`: decayed step by step from the full rate to zero. `constant`: not changed."""
    divide_by: Annotated[float, Field(gt=1)] = 10.0
    """What the rate is divided by; 6.3 in the released net 170."""
    drops: Annotated[int, Field(ge=0)] = 3
    """`plateau`: how many times the rate is divided at most."""
    patience: Annotated[int, Field(ge=1)] = 5
    """`plateau`: consecutive validations without improvement before the rate is divided. None are counted while the
    network only guesses and has not begun to learn: its error is no lower than that of always predicting the most
    common class, and its loss is about that of predicting class frequencies, ln(classes) for classes of equal size."""
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.005
    """`plateau`: how much lower than the best error rate, relative to it, an error rate must be to count as an
    improvement."""
    at_epochs: tuple[int, ...] = ()
    """`steps`: numbers of finished epochs after which the rate is divided, in increasing order."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Length of the linear warmup from almost zero, in epochs."""

    def __post_init__(self) -> None:
        if list(self.at_epochs) != sorted(set(self.at_epochs)) or min(self.at_epochs, default=0) < 0:
            raise InputError(f"schedule.at_epochs must increase and be at least 0, got {list(self.at_epochs)}")
        if self.kind == "steps" and not self.at_epochs:
            raise InputError("schedule 'steps' needs at_epochs, e.g. at_epochs = [24, 50, 78]")

    def factor(self, *, epoch: float, epochs: int, drops: int) -> float:
        """The factor on the initial rate at the fractional `epoch` of `epochs`.

        `drops` is the number of plateaus so far; only the plateau schedule uses it.
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
    """The state of the plateau schedule."""

    best: float = 1.0
    """The last error rate that counted as an improvement, 0-1."""
    waited: int = 0
    """Validations since then, or since the last drop."""
    drops: int = 0
    """How many times the rate has been divided."""

    def after(self, error: float, schedule: Schedule, *, guessing: bool = False) -> "Plateau":
        """The state after a validation with this error rate.

        A network that is only `guessing` has not learned anything yet, so it cannot have reached a plateau: a network
        that stalls at the start keeps its rate.
        """
        if guessing:
            return self
        if error < self.best * (1 - schedule.min_gain):
            return Plateau(best=error, waited=0, drops=self.drops)
        if self.waited + 1 >= schedule.patience and self.drops < schedule.drops:
            return Plateau(best=self.best, waited=0, drops=self.drops + 1)
        return Plateau(best=self.best, waited=self.waited + 1, drops=self.drops)
