"""The data of a run: its training batches, and the split it is validated on."""

import logging
from functools import cached_property
from pathlib import Path

import torch

from ...errors import InputError
from ...pipeline import CenterCrop, Loader, TrainAugment
from ...prep import ShardSet
from ...prep.format.manifest import UNLABELED
from ..processes.layout import Layout
from ..runs.recipe import Recipe
from .calendar import Calendar
from .diagnosis import Baseline

logger = logging.getLogger(__name__)

# By `data.validate_on`; the first split that exists is used.
_SPLITS = {"val": ("val",), "test": ("test", "val"), "none": ()}


def validation_split(recipe: Recipe, shards: Path) -> str | None:
    """The split in `shards` to validate on, or None if there is none."""
    return next((split for split in _SPLITS[recipe.data.validate_on] if (shards / split).is_dir()), None)


def require_validation(recipe: Recipe, shards: Path) -> str | None:
    """Like `validation_split`, but log a warning with the reason if there is none.

    Raises InputError if the schedule needs one, or if the split found is folded into the training set.
    """
    split = validation_split(recipe, shards)
    if split is not None and any(split == change.fold_in for change in recipe.training.folds):
        raise InputError(
            f"{shards}: has no {_SPLITS[recipe.data.validate_on][0]}, so {split} would be scored, but training.changes "
            "folds it into the training set; shard a test set, or use --set data.validate_on=none"
        )
    if split is not None:
        return split
    splits = _SPLITS[recipe.data.validate_on]
    why = f"{shards} has no {' and no '.join(splits)}" if splits else "data.validate_on = 'none'"
    if recipe.schedule.kind == "plateau":
        raise InputError(
            f"{why}, but schedule.kind = 'plateau' needs the validation error to lower the rate; choose another "
            "schedule, e.g. --recipe original, or shard a validation set"
        )
    logger.warning("nothing is validated: %s", why)
    return None


def require_labels(shard_set: ShardSet) -> None:
    """Raise InputError for images that were stored without labels, and for a single class."""
    ids = [entry.id for entry in shard_set.manifest.classes]
    if ids == [UNLABELED]:
        raise InputError(f"{shard_set.folder}: its images were stored without labels; shard labeled images")
    if len(ids) < 2:
        raise InputError(f"{shard_set.folder}: has only one class, {ids[0]}; training needs at least two")


def require_classes(train: ShardSet, other: ShardSet) -> None:
    """Raise InputError if the class table of a split differs from that of the training set."""
    ids = [[entry.id for entry in one.manifest.classes] for one in (train, other)]
    if ids[0] != ids[1]:
        split = other.manifest.split
        raise InputError(f"{train.folder.parent}: train and {split} have different classes; shard them from one source")


class RunData:
    """The loaders of a run in one process; they are recreated when a recipe change affects what they return.

    Args:
        recipe: The recipe in effect at the first step of this process.
        split: The split to validate on, from `require_validation`.
        shards: Folder that holds the sets.
        calendar: Which splits are trained on in which epochs.
        layout: The process layout.
        device: Device of the batches.

    Raises InputError if a set cannot be opened, the sets do not fit each other, or there is nothing to learn.
    """

    def __init__(
        self,
        recipe: Recipe,
        split: str | None,
        *,
        shards: Path,
        calendar: Calendar,
        layout: Layout,
        device: torch.device,
    ) -> None:
        self.recipe, self.split = recipe, split
        self.shards, self.calendar, self.layout, self.device = shards, calendar, layout, device
        self.augment, self.splits = recipe.data.augment(), calendar.phases[0].splits
        self.validation: Loader | None = None
        self.loader = self._loader(self.splits, self.augment)
        try:  # a refused start leaves nothing open
            require_labels(self.loader.shard_set)
            self._open_validation()
        except BaseException:
            self.close()
            raise

    def follow(self, recipe: Recipe, step: int) -> None:
        """Switch to the settings of `recipe` for the step that follows `step` finished steps."""
        before, self.recipe = self.recipe, recipe
        changed = recipe.data.on_error != before.data.on_error
        augment, splits = recipe.at(self.calendar.finished(step)).data.augment(), self.calendar.of_step(step).splits
        if changed or (augment, splits) != (self.augment, self.splits):
            # The old loader has already started on the first batches of this epoch, with the old augmentation.
            state = self.loader.state_dict()
            self.loader.close()
            folded, self.augment, self.splits = splits != self.splits, augment, splits
            self.loader = self._loader(splits, augment)
            self._forget_baselines()
            if folded:  # a split is folded in at the start of an epoch
                self.loader.set_epoch(self.calendar.finished(step))
            else:
                self.loader.load_state_dict(state)
        if changed or recipe.data.validate_on != before.data.validate_on:
            self.split = require_validation(recipe, self.shards)
            self._open_validation()

    @cached_property
    def baseline(self) -> Baseline:
        """The scores of guessing on the training batches."""
        return Baseline.of(self.loader.class_counts, self.loader.class_counts)

    @cached_property
    def validation_baseline(self) -> Baseline:
        """The scores of guessing on the validation split."""
        assert self.validation is not None
        return Baseline.of(self.loader.class_counts, self.validation.class_counts)

    def close(self) -> None:
        """Release the threads and files of the loaders."""
        self.loader.close()
        if self.validation is not None:
            self.validation.close()

    def _open_validation(self) -> None:
        if self.validation is not None:
            self.validation.close()
        self.validation = None
        self._forget_baselines()
        if self.split is None:
            return
        data = self.recipe.data
        view = CenterCrop(crop=data.crop, mean=data.mean, mean_from=self.shards / "train")
        self.validation = self._loader((self.split,), view)
        require_labels(self.validation.shard_set)
        require_classes(self.loader.shard_set, self.validation.shard_set)

    def _forget_baselines(self) -> None:
        for name in ("baseline", "validation_baseline"):
            self.__dict__.pop(name, None)

    def _loader(self, splits: tuple[str, ...], augment: TrainAugment | CenterCrop) -> Loader:
        num_replicas = self.layout.num_replicas
        batch_size, rest = divmod(self.recipe.training.batch_size, num_replicas)
        if rest:
            raise InputError(
                f"training.batch_size {self.recipe.training.batch_size} is not divisible by {num_replicas} replicas; "
                f"choose a multiple of {num_replicas}"
            )
        return Loader(
            [self.shards / split for split in splits] if len(splits) > 1 else self.shards / splits[0],
            batch_size=batch_size,
            augment=augment,
            device=str(self.device),
            seed=self.recipe.training.seed,
            replica=self.layout.replica,
            num_replicas=num_replicas,
            order=self.recipe.data.order,
            drop_last=self.recipe.data.drop_last,
            on_error=self.recipe.data.on_error,
            channels_last=True,
        )
