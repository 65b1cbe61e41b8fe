"""User-defined targets: several labels, floats, captions or boxes, from any member of a sample."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import default_collate

from .augment import Views
from .epochs.schedule import LocalBatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """What is known about a sample when its target is made."""

    key: str
    """Its name in the tar."""
    index: int
    """Its sample index."""
    label: int
    """Its class number."""
    extras: dict[str, bytes | None]
    """Contents of the tar members requested from the loader, by extension; None for a member it lacks."""
    mirror: bool
    """Whether the (first) view is mirrored left to right."""
    offset: tuple[float, float]
    """Top and left of the (first) crop, normalized to [0, 1]; 0.5 when the crop fills the axis."""
    box: tuple[int, int, int, int] | None
    """Top, left, height and width in px of the box of the stored image that was resized to the view, if any."""


class TargetError(Exception):
    """Carries an exception of the user's function until its batch is due."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(str(failure))
        self.failure = failure


def collate(
    target: Callable[[Example], Any],
    batch: LocalBatch,
    labels_B: NDArray[np.int64],
    keys: list[str],
    extras: dict[str, list[bytes | None]],
    views: Views,
) -> Any:
    """The targets of a batch, combined by torch's `default_collate`. Raises TargetError if `target` or collating fails.

    Args:
        target: The user's function.
        batch: The samples.
        labels_B: Their class numbers.
        keys: Their names.
        extras: Their requested tar members.
        views: Their views.
    """
    made: list[Any] = []
    try:
        for row in range(len(keys)):
            made.append(target(_example(row, batch, labels_B, keys, extras, views)))
        return default_collate(made)
    except StopIteration as error:  # it would end the epoch of a loop
        failure: Exception = RuntimeError("target raised StopIteration")
        failure.__cause__ = error
    except Exception as error:
        failure = error
    if len(made) < len(keys):
        failure.add_note(f"target of sample {keys[len(made)]!r}, from a loader with extras={list(extras)}")
    else:
        failure.add_note(
            f"targets of {len(keys)} samples, {keys[0]!r} …, in torch's default_collate: they must be numbers, text, "
            "arrays or tensors of one shape, or dicts, lists or tuples of these"
        )
    raise TargetError(failure)


def _example(
    row: int,
    batch: LocalBatch,
    labels_B: NDArray[np.int64],
    keys: list[str],
    extras: dict[str, list[bytes | None]],
    views: Views,
) -> Example:
    top, left = views.offsets_BV2[row, 0].tolist()
    box = None if views.boxes_B4 is None else views.boxes_B4[row].tolist()
    return Example(
        key=keys[row],
        index=int(batch.indices_B[row]),
        label=int(labels_B[row]),
        extras={ext: contents[row] for ext, contents in extras.items()},
        mirror=bool(views.mirrors_BV[row, 0]),
        offset=(top, left),
        box=None if box is None else (box[0], box[1], box[2], box[3]),
    )
