"""Whether the labels of a run's sets can be learned, and mean the same in both."""

from ...errors import InputError
from ...prep import ShardSet
from ...prep.format.manifest import UNLABELED


def require_labels(shard_set: ShardSet) -> None:
    """InputError for images that were stored without labels, and for a single class."""
    ids = [entry.id for entry in shard_set.manifest.classes]
    if ids == [UNLABELED]:
        raise InputError(f"{shard_set.folder}: its images were stored without labels; shard labeled ones")
    if len(ids) < 2:
        raise InputError(f"{shard_set.folder}: has one class, {ids[0]}, so there is nothing to tell apart")


def require_classes(train: ShardSet, other: ShardSet) -> None:
    """InputError when the class table of a split is not that of the training set."""
    ids = [[entry.id for entry in one.manifest.classes] for one in (train, other)]
    if ids[0] != ids[1]:
        split = other.manifest.split
        raise InputError(f"{train.folder.parent}: train and {split} have different classes; shard them from one source")
