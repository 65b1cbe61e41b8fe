"""What runs that differ in one thing say about it: means over seeds, 95 % intervals, and whether an effect is there.

With several seeds an interval is Student's, between runs. With one seed it is that of the images scored, which knows
nothing of what another seed would give.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from statistics import mean, stdev
from typing import Literal

from ...runs.load import built_in_recipes, load_recipe
from ..metrics import Z_95
from .run_records import RunRecord

Measure = Literal["error", "training error", "epochs to 25 %"]
Verdict = Literal["shown", "not decided", "contradicted"]
TRAINING_ERROR_OF_FIGURE_1 = 0.25
VIEWS = ("center", "nine", "ten")  # the last one that was evaluated counts

# 97.5 % quantiles of Student's distribution for 1 to 9 degrees of freedom.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean with its 95 % interval."""

    value: float
    """The mean."""
    half: float
    """Half the width of the interval."""

    @classmethod
    def of(cls, values: Sequence[float], images: int) -> "Estimate":
        """Of one rate for each seed, each over so many images."""
        value = mean(values)
        if len(values) == 1:
            return cls(value=value, half=Z_95 * sqrt(value * (1 - value) / images) if images else 0.0)
        quantile = _STUDENT[len(values) - 2] if len(values) <= len(_STUDENT) + 1 else Z_95
        return cls(value=value, half=quantile * stdev(values) / sqrt(len(values)))

    def less(self, other: "Estimate") -> "Estimate":
        """This one less another that is independent of it."""
        return Estimate(value=self.value - other.value, half=hypot(self.half, other.half))


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Runs that differ in their seeds alone."""

    records: tuple[RunRecord, ...]
    """At least one, sorted by seed."""

    @property
    def first(self) -> RunRecord:
        """Any of them."""
        return self.records[0]

    @property
    def name(self) -> str:
        """What the runs are called, without their seeds."""
        return self.first.group

    @property
    def view(self) -> str | None:
        """The kind of views that all of them were scored by, the richest; None where they were not scored."""
        return next((v for v in reversed(VIEWS) if all(v in record.scores for record in self.records)), None)

    @property
    def hours(self) -> float:
        """Of training, all runs together."""
        return sum(record.seconds for record in self.records) / 3600

    def error(self, view: str) -> Estimate:
        """Top-1 error, 0-1."""
        scores = [record.scores[view] for record in self.records]
        return Estimate.of([score.top1_error for score in scores], scores[0].images)

    def training_error(self) -> Estimate:
        """Top-1 error of the last epoch on the training images as they were shown, 0-1."""
        return Estimate.of([record.epochs[-1].train_error for record in self.records], self.first.train_images)

    def epochs_to_25(self) -> list[int] | None:
        """Of each run the first epoch with a training error of 25 % or less; None where one did not get there."""
        epochs = [record.epochs_to(TRAINING_ERROR_OF_FIGURE_1) for record in self.records]
        return None if None in epochs else [epoch for epoch in epochs if epoch is not None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """An effect that the paper claims: what one kind of runs has less of than another."""

    what: str
    """The two, in words: "A less B"."""
    measure: Measure
    """What is compared."""
    less: Callable[[RunRecord], bool]
    """Which runs should have less of it."""
    more: Callable[[RunRecord], bool]
    """Which runs should have more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What runs say about a comparison."""

    words: str
    """The number with its interval."""
    verdict: Verdict
    """`shown`: the interval lies on the claimed side of no effect."""
    groups: tuple[Group, ...]
    """The runs it is made of."""


def groups_of(records: Sequence[RunRecord]) -> list[Group]:
    """Runs that differ in their seeds alone, together; sorted by name. Of two runs that are the same one counts."""
    by_settings: dict[tuple[str, str], dict[int, RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.name, reverse=True):
        settings = record.recipe.to_json()
        settings["training"] = {**settings["training"], "seed": 0, "log": [], "checkpoint_minutes": 0}
        by_settings.setdefault((record.data, repr(settings)), {})[record.recipe.training.seed] = record
    groups = [Group(records=tuple(own[seed] for seed in sorted(own))) for own in by_settings.values()]
    return sorted(groups, key=lambda group: group.name)


def effects(comparison: Comparison, groups: Sequence[Group]) -> list[Effect]:
    """The effect, once for every length of training that both sides have runs of."""
    if comparison.measure == "epochs to 25 %":
        found = _sooner(comparison, groups)
        return [] if found is None else [found]
    result = []
    pairs = [
        (less, more, view)
        for less in groups
        for more in groups
        if comparison.less(less.first) and comparison.more(more.first) and _alike(less.first, more.first)
        for view in [less.view if less.view == more.view else "center"]
        if comparison.measure == "training error" or (view in less.first.scores and view in more.first.scores)
    ]
    for less, more, view in pairs:
        pair = [g.training_error() if comparison.measure == "training error" else g.error(view or "center")
                for g in (less, more)]  # fmt: skip
        difference = pair[0].less(pair[1])
        which = f" ({less.name}, {more.name})" if len(pairs) > 1 else ""
        result.append(
            Effect(
                words=f"{comparison.what}{which}: {_points(difference)} points of {_measured(comparison, view)}",
                verdict=_verdict(difference),
                groups=(less, more),
            )
        )
    return result


def _alike(one: RunRecord, other: RunRecord) -> bool:
    """Whether two runs had the same images, and the same length of training or each its own recipe's."""
    if one.data != other.data:
        return False
    lengths = [(record.recipe.training.epochs, record.recipe.schedule) for record in (one, other)]
    return lengths[0] == lengths[1] or all(map(_is_whole, (one, other)))


def _is_whole(record: RunRecord) -> bool:
    name = record.recipe.name
    return name in built_in_recipes() and record.recipe.training.epochs == load_recipe(name).training.epochs


def _measured(comparison: Comparison, view: str | None) -> str:
    views = {"center": "one view", "nine": "nine views", "ten": "ten views"}
    return comparison.measure if comparison.measure == "training error" else f"error, {views[view or 'center']}"


def _points(difference: Estimate) -> str:
    return f"{100 * difference.value:+.2f} ± {100 * difference.half:.2f}"


def _verdict(difference: Estimate) -> Verdict:
    if difference.value + difference.half < 0:
        return "shown"
    return "contradicted" if difference.value - difference.half > 0 else "not decided"


def _sooner(comparison: Comparison, groups: Sequence[Group]) -> Effect | None:
    """How many times as many epochs the slower kind needs, each kind at its best rate."""
    sides = [[g for g in groups if which(g.first)] for which in (comparison.less, comparison.more)]
    if not all(sides):
        return None
    best = [min(side, key=_epochs_at_best) for side in sides]
    fast, slow = (group.epochs_to_25() for group in best)
    if fast is None:
        return None
    if slow is None:
        cap = max(len(record.epochs) for record in best[1].records)
        ratio, verdict = f"more than {cap / mean(fast):.1f} times", "shown" if cap > max(fast) else "not decided"
        epochs = f"{_list(fast)}; not within {cap}"
    else:
        low, high = min(slow) / max(fast), max(slow) / min(fast)
        ratio = f"{mean(slow) / mean(fast):.1f} times ({low:.1f} to {high:.1f})"
        verdict = "shown" if low > 1 else "contradicted" if high < 1 else "not decided"
        epochs = f"{_list(fast)}; {_list(slow)}"
    words = f"{comparison.what}: {ratio}; epochs {epochs}"
    return Effect(words=words, verdict=verdict, groups=tuple(best))  # type: ignore[arg-type]


def _epochs_at_best(group: Group) -> float:
    """By the first seed, which all rates were tried with."""
    return group.first.epochs_to(TRAINING_ERROR_OF_FIGURE_1) or float("inf")


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
