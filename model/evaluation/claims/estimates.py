"""Estimates from the records of runs: rates with 95 % intervals, and runs grouped by their settings.

With several seeds, an interval is Student's t interval between runs. With one seed, it covers only the sampling of the
images scored, not the variation between seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from statistics import mean, stdev

from ..metrics import Z_95
from .alike import settings_of
from .run_records import RunRecord, Scored

TRAINING_ERROR_OF_FIGURE_1 = 0.25
CONVERGED = 0.005  # a run has converged once its validation error is this close to its lowest
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

    def reaches(self, printed: float) -> str:
        """The verdict on a printed error: whether the lower end of the interval is at or below it."""
        return "reproduced" if self.value - self.half <= printed else "not reproduced"


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What a printed number was measured on."""

    data: str
    """The training data, as named in records."""
    split: str
    """The split that was scored."""
    images: int | None
    """Images in that split; None if the number is not published."""

    def is_of(self, data: str, score: Scored) -> bool:
        """Whether an error of a network trained on `data` is of this benchmark; one image in a thousand may lack."""
        whole = self.images is None or 0.999 * self.images <= score.images <= self.images
        return data == self.data and score.split == self.split and whole


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
        scored, or on other images."""
        scores = [record.scores[view] for record in self.records if view in record.scores]
        if len(scores) < len(self.records) or not all(may_be_same(scores[0], score) for score in scores):
            return None
        return scores[0].split

    @property
    def hours(self) -> float:
        """Training time of all runs together, in hours."""
        return sum(record.seconds for record in self.records) / 3600

    def error(self, view: str) -> Estimate:
        """Top-1 error, 0-1."""
        return self.errors(view)[0]

    def errors(self, view: str) -> list[Estimate]:
        """Top-1 error and, if all runs have it, top-5 error, 0-1."""
        scores = [record.scores[view] for record in self.records]
        top5 = [score.top5_error for score in scores if score.top5_error is not None]
        both = [[score.top1_error for score in scores], *([top5] if len(top5) == len(scores) else [])]
        return [Estimate.of(values, scores[0].images) for values in both]

    def is_of(self, benchmark: Benchmark, view: str) -> bool:
        """Whether all runs were trained on a benchmark's data and scored on its split with a kind of views."""
        return all(
            view in record.scores and benchmark.is_of(record.data, record.scores[view]) for record in self.records
        )

    def training_error(self, epoch: int = -1) -> Estimate:
        """Top-1 error on the training images, as augmented, of the epoch with this index (by default the last), 0-1."""
        return Estimate.of([record.epochs[epoch].train_error for record in self.records], self.first.train_images)

    def epochs_to_25(self) -> list[int] | None:
        """The first epoch of each run with a training error of at most 25 %; None if a run did not reach it."""
        epochs = [record.epochs_to(TRAINING_ERROR_OF_FIGURE_1) for record in self.records]
        return None if None in epochs else [epoch for epoch in epochs if epoch is not None]

    def steps_to_converge(self) -> list[int] | None:
        """The steps of each run up to the first epoch with a validation error within half a point of its lowest; None
        if a run was not validated or its number of steps is unknown."""
        steps = [(record.converged_in(CONVERGED) or 0) * record.steps_per_epoch for record in self.records]
        return steps if all(steps) else None


def groups_of(records: Sequence[RunRecord]) -> list[Group]:
    """Group the runs that differ only in their seeds, sorted by name; of duplicate runs only one is kept."""
    by_settings: dict[tuple[str, ...], dict[int, RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.name, reverse=True):
        settings = (record.data, str(record.train_images), record.recipe.name, repr(settings_of(record.recipe)))
        by_settings.setdefault(settings, {})[record.recipe.training.seed] = record
    groups = [Group(records=tuple(own[seed] for seed in sorted(own))) for own in by_settings.values()]
    return sorted(groups, key=lambda group: group.name)


def may_be_same(one: Scored, other: Scored) -> bool:
    """Whether two errors may be of the same images, by split, number and hash as far as they are known."""
    known = ((one.split, other.split), (one.set_sha256, other.set_sha256))
    return one.images == other.images and all(a == b or "" in (a, b) for a, b in known)
