"""Steps and epochs of a run, whose epochs become longer when another split is folded into the training set."""

from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...prep import ShardSet
from ..runs.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Consecutive epochs of equal length."""

    epoch: int
    """Finished epochs when the phase begins."""
    step: int
    """Finished steps when the phase begins."""
    steps_per_epoch: int
    """Steps in each epoch."""
    splits: tuple[str, ...]
    """The splits that are trained on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calendar:
    """A run's phases, at least one."""

    phases: tuple[Phase, ...]

    def of_step(self, step: int) -> Phase:
        """The phase of the step that follows `step` finished steps."""
        return next(phase for phase in reversed(self.phases) if phase.step <= step)

    def epoch(self, step: int) -> float:
        """Finished epochs after `step` steps, including the fraction of the current one."""
        phase = self.of_step(step)
        return phase.epoch + (step - phase.step) / phase.steps_per_epoch

    def finished(self, step: int) -> int:
        """Completely finished epochs after `step` steps."""
        phase = self.of_step(step)
        return phase.epoch + (step - phase.step) // phase.steps_per_epoch

    def within(self, step: int) -> int:
        """Finished steps of the current epoch; 0 at its start."""
        phase = self.of_step(step)
        return (step - phase.step) % phase.steps_per_epoch

    def step_at(self, epoch: int) -> int:
        """Steps after which `epoch` epochs are finished."""
        phase = next(phase for phase in reversed(self.phases) if phase.epoch <= epoch)
        return phase.step + (epoch - phase.epoch) * phase.steps_per_epoch


def calendar_of(recipe: Recipe, shards: Path) -> Calendar:
    """The calendar of a recipe on the sets in `shards`.

    Raises InputError if a split to be folded in does not exist.
    """
    phases: list[Phase] = []
    starts: list[tuple[int, tuple[str, ...]]] = [(0, ("train",))]
    starts += [(change.epoch, ("train", str(change.fold_in))) for change in recipe.training.folds]
    for epoch, splits in starts:
        step = Calendar(phases=tuple(phases)).step_at(epoch) if phases else 0
        sizes = [_num_samples(shards, split) for split in splits]
        batches, rest = divmod(sum(sizes), recipe.training.batch_size)
        steps = batches + (rest > 0 and not recipe.data.drop_last)
        phases.append(Phase(epoch=epoch, step=step, steps_per_epoch=max(steps, 1), splits=splits))
    return Calendar(phases=tuple(phases))


def _num_samples(shards: Path, split: str) -> int:
    if split != "train" and not (shards / split).is_dir():
        raise InputError(
            f"{shards}: has no {split}, which training.changes folds in; make one with 'alexprep shard --val-fraction'"
        )
    return ShardSet.open(shards / split).manifest.num_samples
