"""Learning rates over a run, as pure functions of what has been seen so far."""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from ...errors import InputError
from .bounds import require_all

_BOUNDS: dict[str, dict[str, float]] = {
    "divide_by": {"above": 1},
    "drops": {"at_least": 0},
    "patience": {"at_least": 1},
    "min_gain": {"at_least": 0, "below": 1},
    "warmup_epochs": {"at_least": 0},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How the rate falls from its start.

    `plateau`: divided by `divide_by` when the validation error rate has not fallen below its best by a share of
    `min_gain` for `patience` epochs, `drops` times at most (the paper's rule, with the eye replaced by a number).
    `steps`: divided at the starts of the epochs `at_epochs`, counted from 0. `quarters`: four equal parts, each the one
    before divided by `divide_by` (6.3 in the released net 170). `cosine` and `linear`: from the full rate to none, step
    by step. With `warmup_epochs` the rate first rises linearly.
    """

    kind: Literal["plateau", "steps", "quarters", "cosine", "linear"] = "plateau"
    divide_by: float = 10.0
    drops: int = 3
    patience: int = 5
    min_gain: float = 0.005
    at_epochs: tuple[int, ...] = ()
    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        require_all("schedule", self, _BOUNDS)
        if list(self.at_epochs) != sorted(set(self.at_epochs)) or min(self.at_epochs, default=0) < 0:
            raise InputError(f"schedule.at_epochs must rise from 0 or more, got {list(self.at_epochs)}")
        if self.kind == "steps" and not self.at_epochs:
            raise InputError("schedule 'steps' needs at_epochs, e.g. at_epochs = [25, 51, 79]")

    def factor(self, *, epoch: float, epochs: int, drops: int) -> float:
        """What the starting rate is multiplied by at `epoch` (fractions count steps) of `epochs`.

        `drops` is the number of plateaus so far; only the plateau schedule reads it.
        """
        if epoch < self.warmup_epochs:
            return max(epoch / self.warmup_epochs, 1e-3)
        share = epoch / epochs
        match self.kind:
            case "plateau":
                return self.divide_by**-drops
            case "steps":
                return self.divide_by ** -sum(epoch >= start for start in self.at_epochs)
            case "quarters":
                return self.divide_by ** -min(int(4 * share), 3)
            case "cosine":
                return (1 + cos(pi * min(share, 1.0))) / 2
            case "linear":
                return max(1 - share, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plateau:
    """The plateau schedule's memory: best error rate, epochs without a better one, drops so far."""

    best: float = 1.0
    waited: int = 0
    drops: int = 0

    def after(self, error: float, schedule: Schedule) -> "Plateau":
        """The memory after an epoch that ended with this validation error rate."""
        if error < self.best * (1 - schedule.min_gain):
            return Plateau(best=error, waited=0, drops=self.drops)
        if self.waited + 1 >= schedule.patience and self.drops < schedule.drops:
            return Plateau(best=min(self.best, error), waited=0, drops=self.drops + 1)
        return Plateau(best=min(self.best, error), waited=self.waited + 1, drops=self.drops)
