"""Effects measured between runs that differ in one setting: means over seeds, 95 % intervals, and verdicts.

With several seeds, an interval is Student's t interval between runs. With one seed, it covers only the sampling of the
images scored, not the variation between seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from statistics import mean, stdev
from typing import Literal

from ..metrics import Z_95
from .alike import also_different, settings_of
from .run_records import RunRecord

Measure = Literal["error", "training error", "training error of the first epoch", "epochs to 25 %"]
Verdict = Literal["shown", "not decided", "contradicted"]
TRAINING_ERROR_OF_FIGURE_1 = 0.25
VIEW_WORDS = {
    "center": "one view",
    "nine": "nine views",
    "ten": "ten views",
}  # the last kind that was evaluated is used

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
        """The estimate from one rate per seed, each measured on `images` images."""
        value = mean(values)
        if len(values) == 1:
            return cls(value=value, half=Z_95 * sqrt(value * (1 - value) / images) if images else 0.0)
        quantile = _STUDENT[len(values) - 2] if len(values) <= len(_STUDENT) + 1 else Z_95
        return cls(value=value, half=quantile * stdev(values) / sqrt(len(values)))

    def less(self, other: "Estimate") -> "Estimate":
        """The difference to an independent estimate."""
        return Estimate(value=self.value - other.value, half=hypot(self.half, other.half))


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Runs that differ only in their seeds."""

    records: tuple[RunRecord, ...]
    """At least one, sorted by seed."""

    @property
    def first(self) -> RunRecord:
        """The first run, to read shared settings from."""
        return self.records[0]

    @property
    def name(self) -> str:
        """The runs' common name, without seeds."""
        return self.first.group

    @property
    def view(self) -> str | None:
        """The kind with the most views with which all runs were scored; None if there is none."""
        return next((view for view in reversed(VIEW_WORDS) if self.split(view) is not None), None)

    def split(self, view: str) -> str | None:
        """The split on which all runs were scored with a kind of views, "" if unknown; None if some runs were not
        scored, or on another split."""
        splits = {record.scores[view].split if view in record.scores else None for record in self.records}
        return splits.pop() if len(splits) == 1 else None

    @property
    def hours(self) -> float:
        """Training time of all runs together, in hours."""
        return sum(record.seconds for record in self.records) / 3600

    def error(self, view: str) -> Estimate:
        """Top-1 error, 0-1."""
        scores = [record.scores[view] for record in self.records]
        return Estimate.of([score.top1_error for score in scores], scores[0].images)

    def training_error(self, epoch: int = -1) -> Estimate:
        """Top-1 error on the training images, as augmented, of the epoch with this index (by default the last), 0-1."""
        return Estimate.of([record.epochs[epoch].train_error for record in self.records], self.first.train_images)

    def epochs_to_25(self) -> list[int] | None:
        """The first epoch of each run with a training error of at most 25 %; None if a run did not reach it."""
        epochs = [record.epochs_to(TRAINING_ERROR_OF_FIGURE_1) for record in self.records]
        return None if None in epochs else [epoch for epoch in epochs if epoch is not None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """An effect claimed by the paper: a measure that should be lower in one kind of runs than in another."""

    what: str
    """The two kinds, in words: "A less B"."""
    measure: Measure
    """The measure that is compared."""
    less: Callable[[RunRecord], bool]
    """Selects the runs in which it should be lower."""
    more: Callable[[RunRecord], bool]
    """Selects the runs in which it should be higher."""
    keys: tuple[str, ...]
    """The recipe's keys, SECTION.KEY, in which the two kinds differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """The result of a comparison."""

    words: str
    """The number with its interval."""
    verdict: Verdict
    """`shown` if the whole interval is on the claimed side of zero, `contradicted` if it is on the other side."""
    groups: tuple[Group, ...]
    """The runs it is computed from."""


def groups_of(records: Sequence[RunRecord]) -> list[Group]:
    """Group the runs that differ only in their seeds, sorted by name; of duplicate runs only one is kept."""
    by_settings: dict[tuple[str, ...], dict[int, RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.name, reverse=True):
        settings = (record.data, record.recipe.name, repr(settings_of(record.recipe)))
        by_settings.setdefault(settings, {})[record.recipe.training.seed] = record
    groups = [Group(records=tuple(own[seed] for seed in sorted(own))) for own in by_settings.values()]
    return sorted(groups, key=lambda group: group.name)


def effects(comparison: Comparison, groups: Sequence[Group]) -> list[Effect]:
    """The effect, once for every pair of groups that differ in nothing else, or only as their recipes do."""
    if comparison.measure == "epochs to 25 %":
        return _sooner(comparison, groups)
    result = []
    pairs = [
        (less, more, view, others)
        for less in groups
        for more in groups
        if comparison.less(less.first) and comparison.more(more.first)
        for others in [_others(comparison, less.first, more.first)]
        for view in [less.view if less.view == more.view else "center"]
        if others is not None and (comparison.measure != "error" or _same_images(less, more, view))
    ]
    for less, more, view, others in pairs:
        difference = _measure(comparison.measure, less, view).less(_measure(comparison.measure, more, view))
        which = f" ({less.name}, {more.name})" if len(pairs) > 1 else ""
        also = f" (different too: {', '.join(others)})" if others else ""
        result.append(
            Effect(
                words=f"{comparison.what}{which}: {_points(difference)} points of {_measured(comparison, view)}{also}",
                verdict=_verdict(difference),
                groups=(less, more),
            )
        )
    return result


def ten_views_effects(groups: Sequence[Group]) -> list[Effect]:
    """The effect of ten views against the center view of the same runs, for every group scored with both.

    With one seed, the interval treats the two errors as independent, so it is too wide: the images are the same.
    """
    found = [
        group for group in groups if group.split("ten") is not None and group.split("ten") == group.split("center")
    ]
    result = []
    for group in found:
        differences = [record.scores["ten"].top1_error - record.scores["center"].top1_error for record in group.records]
        difference = (
            Estimate.of(differences, 0) if len(differences) > 1 else group.error("ten").less(group.error("center"))
        )
        which = f" ({group.name})" if len(found) > 1 else ""
        words = f"ten views less one{which}: {_points(difference)} points of error"
        result.append(Effect(words=words, verdict=_verdict(difference), groups=(group,)))
    return result


def _others(comparison: Comparison, one: RunRecord, other: RunRecord) -> list[str] | None:
    """Other differences between two runs than the compared keys; None if they cannot be compared."""
    if one.data != other.data or (one.train_images and other.train_images and one.train_images != other.train_images):
        return None
    return also_different(one.recipe, other.recipe, comparison.keys)


def _same_images(less: Group, more: Group, view: str | None) -> bool:
    """Whether both groups were scored with these views on the same split, as far as the records tell."""
    splits = {group.split(view or "center") for group in (less, more)}
    return None not in splits and len(splits - {""}) <= 1


def _measure(measure: Measure, group: Group, view: str | None) -> Estimate:
    if measure == "error":
        return group.error(view or "center")
    return group.training_error(0 if measure == "training error of the first epoch" else -1)


def _measured(comparison: Comparison, view: str | None) -> str:
    return f"error, {VIEW_WORDS[view or 'center']}" if comparison.measure == "error" else comparison.measure


def _points(difference: Estimate) -> str:
    return f"{100 * difference.value:+.2f} ± {100 * difference.half:.2f}"


def _verdict(difference: Estimate) -> Verdict:
    if difference.value + difference.half < 0:
        return "shown"
    return "contradicted" if difference.value - difference.half > 0 else "not decided"


def _sooner(comparison: Comparison, groups: Sequence[Group]) -> list[Effect]:
    """How many times as many epochs the slower kind needs, each at its best rate, for runs otherwise alike."""
    alike: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        rest = (group.first.data, repr(settings_of(group.first.recipe, less=comparison.keys)))
        alike.setdefault(rest, []).append(group)
    found = [_times_as_many(comparison, own) for own in alike.values()]
    return [effect for effect in found if effect is not None]


def _times_as_many(comparison: Comparison, groups: Sequence[Group]) -> Effect | None:
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
    """The epochs of the first seed, with which all rates were tried."""
    return group.first.epochs_to(TRAINING_ERROR_OF_FIGURE_1) or float("inf")


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
