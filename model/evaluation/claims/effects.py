"""Effects measured between runs that differ in one setting: differences with 95 % intervals, and verdicts on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, Literal

from .alike import also_different, changes_in_words, changes_of, settings_of
from .estimates import TRAINING_ERROR_OF_FIGURE_1, VIEW_WORDS, Benchmark, Estimate, Group, may_be_same
from .run_records import RunRecord

Measure = Literal["error", "training error", "training error of the first epoch", "epochs to 25 %", "steps to converge"]
Verdict = Literal["reproduced", "shown, but smaller than printed", "shown", "not decided", "contradicted"]
ROUNDED = 0.5  # "six times" and "twice" are printed as whole numbers


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
    printed: tuple[float, ...] = ()
    """The printed difference in top-1 error, or in top-1 and top-5, 0-1; for epochs and steps, how many times as many
    the one kind needs. Empty if no number was printed."""
    printed_errors: tuple[float, ...] = ()
    """The printed top-1 errors of the two kinds themselves, 0-1."""
    benchmark: Benchmark | None = None
    """What the printed numbers are of."""
    view: str = "ten"
    """The kind of views that they are of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """The result of a comparison."""

    words: str
    """The number with its interval."""
    groups: tuple[Group, ...]
    """The runs it is computed from."""
    verdicts: dict[str, str] = field(default_factory=dict)
    """A `Verdict` of each measure, by its name: `shown` if the whole interval is on the claimed side of zero,
    `contradicted` if it is on the other side; `reproduced` if it is shown and the interval reaches the printed number,
    for unchanged recipes on the benchmark that the number is of."""

    @property
    def verdict(self) -> str:
        """The verdicts in words, with the names of the measures if they differ."""
        return in_words(self.verdicts)


def in_words(verdicts: Mapping[str, str]) -> str:
    """A verdict that all share, or each verdict with what it is about: `reproduced (top-1), not decided (top-5)`."""
    distinct = list(dict.fromkeys(verdicts.values()))
    if len(distinct) == 1:
        return distinct[0]
    return ", ".join(f"{one} ({', '.join(name for name in verdicts if verdicts[name] == one)})" for one in distinct)


def effects(comparison: Comparison, groups: Sequence[Group]) -> list[Effect]:
    """The effect, once for every pair of groups that differ in nothing else, or only as their recipes do."""
    if comparison.measure in ("epochs to 25 %", "steps to converge"):
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
        differences = _differences(comparison, less, more, view)
        which = f" ({less.name}, {more.name})" if len(pairs) > 1 else ""
        values, verdicts = _points(differences), _verdicts(differences, _printed_for(comparison, less, more, view))
        both = ""
        if comparison.printed_errors:
            both = _both_errors(less, more, view)
            verdicts |= _verdicts_on_errors(comparison, less, more, view)
        result.append(
            Effect(
                words=f"{comparison.what}{which}: {values} points of {_measured(comparison, view)}{both}"
                f"{_remarks(others, changes_of(less.first.recipe, less=comparison.keys))}",
                verdicts=verdicts,
                groups=(less, more),
            )
        )
    return result


def ten_views_effects(comparison: Comparison, groups: Sequence[Group]) -> list[Effect]:
    """The effect of ten views against the center view of the same runs, for every group scored with both.

    With one seed, the interval treats the two errors as independent, so it is too wide: the images are the same.
    """
    found = [
        group for group in groups if group.split("ten") is not None and group.split("ten") == group.split("center")
    ]
    result = []
    for group in found:
        differences = _ten_less_center(group)
        which = f" ({group.name})" if len(found) > 1 else ""
        judged = (
            comparison.less(group.first) and _is_of(comparison, group, "ten") and _is_of(comparison, group, "center")
        )
        result.append(
            Effect(
                words=f"{comparison.what}{which}: {_points(differences)} points of error",
                verdicts=_verdicts(differences, comparison.printed if judged else ()),
                groups=(group,),
            )
        )
    return result


def _ten_less_center(group: Group) -> list[Estimate]:
    """Differences in top-1 and, if it was measured, top-5 error."""
    ten, center = group.errors("ten"), group.errors("center")
    if len(group.records) == 1:
        return [a.less(b) for a, b in zip(ten, center, strict=False)]
    pairs = [(record.scores["ten"], record.scores["center"]) for record in group.records]
    differences = [[a.top1_error - b.top1_error for a, b in pairs]]
    if len(ten) == len(center) == 2:
        differences.append([(a.top5_error or 0.0) - (b.top5_error or 0.0) for a, b in pairs])
    return [Estimate.of(values, 0) for values in differences]


def _others(comparison: Comparison, one: RunRecord, other: RunRecord) -> list[str] | None:
    """Other differences between two runs than the compared keys; None if they cannot be compared."""
    if one.data != other.data or (one.train_images and other.train_images and one.train_images != other.train_images):
        return None
    return also_different(one.recipe, other.recipe, comparison.keys)


def _same_images(less: Group, more: Group, view: str | None) -> bool:
    """Whether both groups were scored with these views on the same images, as far as the records tell."""
    if None in (less.split(view or "center"), more.split(view or "center")):
        return False
    return may_be_same(less.first.scores[view or "center"], more.first.scores[view or "center"])


def _differences(comparison: Comparison, less: Group, more: Group, view: str | None) -> list[Estimate]:
    """Differences in the measure; for errors with a printed top-5 difference, in top-1 and top-5."""
    if comparison.measure != "error":
        epoch = 0 if comparison.measure == "training error of the first epoch" else -1
        return [less.training_error(epoch).less(more.training_error(epoch))]
    errors = zip(less.errors(view or "center"), more.errors(view or "center"), strict=False)
    return [a.less(b) for a, b in errors][: max(len(comparison.printed), 1)]


def _is_of(comparison: Comparison, group: Group, view: str) -> bool:
    """Whether a group is one that a comparison's printed numbers are of: the recipe unchanged, on the benchmark."""
    changed = changes_of(group.first.recipe, less=comparison.keys)
    return comparison.benchmark is not None and group.is_of(comparison.benchmark, view) and not changed


def _printed_for(comparison: Comparison, less: Group, more: Group, view: str | None) -> tuple[float, ...]:
    """The printed numbers by which two groups are judged; empty if they are of something else."""
    judged = view == comparison.view and all(_is_of(comparison, group, view) for group in (less, more))
    return comparison.printed if judged else ()


def _both_errors(less: Group, more: Group, view: str | None) -> str:
    errors = [100 * group.error(view or "center").value for group in (less, more)]
    return f", {errors[0]:.2f} against {errors[1]:.2f} %"


def _verdicts_on_errors(comparison: Comparison, less: Group, more: Group, view: str | None) -> dict[str, str]:
    """Verdicts on the printed errors themselves; empty if the groups are not judged by them."""
    if not _printed_for(comparison, less, more, view):
        return {}
    return {
        f"{100 * printed:g} %": group.error(comparison.view).reaches(printed)
        for group, printed in zip((less, more), comparison.printed_errors, strict=True)
    }


def _remarks(others: Sequence[str], changes: dict[str, Any]) -> str:
    remarks = [f"different too: {', '.join(others)}"] if others else []
    remarks += [f"changed: {changes_in_words(changes)}"] if changes else []
    return f" ({'; '.join(remarks)})" if remarks else ""


def _measured(comparison: Comparison, view: str | None) -> str:
    return f"error, {VIEW_WORDS[view or 'center']}" if comparison.measure == "error" else comparison.measure


def _points(differences: Sequence[Estimate]) -> str:
    return " / ".join(f"{100 * one.value:+.2f} ± {100 * one.half:.2f}" for one in differences)


def _verdicts(differences: Sequence[Estimate], printed: Sequence[float]) -> dict[str, str]:
    """The verdict on each difference, by its name, with the printed numbers by which they are judged, if any."""
    names = ("top-1", "top-5")[: len(differences)]
    return {
        name: _verdict(one, printed[place] if place < len(printed) else None)
        for place, (name, one) in enumerate(zip(names, differences, strict=True))
    }


def _verdict(difference: Estimate, printed: float | None) -> Verdict:
    if difference.value + difference.half >= 0:
        return "contradicted" if difference.value - difference.half > 0 else "not decided"
    if printed is None:
        return "shown"
    return "reproduced" if difference.value - difference.half <= printed else "shown, but smaller than printed"


def _sooner(comparison: Comparison, groups: Sequence[Group]) -> list[Effect]:
    """How many times as many epochs or steps the slower kind needs, each at its best rate, for runs otherwise alike."""
    alike: dict[tuple[str, int, str], list[Group]] = {}
    for group in groups:
        rest = (group.first.data, group.first.train_images, repr(settings_of(group.first.recipe, less=comparison.keys)))
        alike.setdefault(rest, []).append(group)
    found = [_times_as_many(comparison, own) for own in alike.values()]
    return [effect for effect in found if effect is not None]


def _times_as_many(comparison: Comparison, groups: Sequence[Group]) -> Effect | None:
    sides = [[g for g in groups if which(g.first)] for which in (comparison.less, comparison.more)]
    if not all(sides):
        return None
    if comparison.measure == "steps to converge":
        best, unit = [side[0] for side in sides], "steps"
        fast, slow = (group.steps_to_converge() for group in best)
        if slow is None:
            return None
    else:
        best, unit = [min(side, key=_epochs_at_best) for side in sides], "epochs"
        fast, slow = (group.epochs_to_25() for group in best)
    if fast is None:
        return None
    if slow is None:
        cap = max(len(record.epochs) for record in best[1].records)
        low, high = cap / max(fast), float("inf")
        ratio, counts = f"more than {cap / mean(fast):.1f} times", f"{_list(fast)}; not within {cap}"
    else:
        low, high = min(slow) / max(fast), max(slow) / min(fast)
        ratio, counts = (
            f"{mean(slow) / mean(fast):.1f} times ({low:.1f} to {high:.1f})",
            f"{_list(fast)}; {_list(slow)}",
        )
    changes = changes_of(best[0].first.recipe, less=comparison.keys)
    words = f"{comparison.what}: {ratio}; {unit} {counts}{_remarks([], changes)}"
    printed = _times_printed(comparison, best, changes)
    if slow is None and printed is not None and low < printed:
        printed = None  # how many times as many is not known
    verdict = _verdict_of_times(low, high, printed)
    return Effect(words=words, verdicts={unit: verdict}, groups=tuple(best))


def _times_printed(comparison: Comparison, best: Sequence[Group], changes: dict[str, Any]) -> float | None:
    """The printed ratio by which the groups are judged; None if it is of something else."""
    data = comparison.benchmark and comparison.benchmark.data
    return None if changes or any(group.first.data != data for group in best) else comparison.printed[0]


def _verdict_of_times(low: float, high: float, printed: float | None) -> Verdict:
    """The verdict on a ratio of single runs between `low` and `high`."""
    if low <= 1:
        return "contradicted" if high < 1 else "not decided"
    if printed is None:
        return "shown"
    return "reproduced" if high >= printed - ROUNDED else "shown, but smaller than printed"


def _epochs_at_best(group: Group) -> float:
    """The epochs of the first seed, with which all rates were tried."""
    return group.first.epochs_to(TRAINING_ERROR_OF_FIGURE_1) or float("inf")


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(f"{number:,}" for number in numbers)
