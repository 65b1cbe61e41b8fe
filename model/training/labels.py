"""Check that the labels of a run's sets can be learned and mean the same in both."""

from ...errors import InputError
from ...prep import ShardSet
from ...prep.format.manifest import UNLABELED


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
