"""Targets of the user's own: several labels, floats, captions, boxes, from any member of a sample."""

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
    """What is known of one sample when its target is made."""

    key: str
    """Its name."""
    index: int
    """Its sample index."""
    label: int
    """Its class number."""
    extras: dict[str, bytes | None]
    """By extension, the content of the tar members that the loader was asked for."""
    mirror: bool
    """Whether the (first) view is mirrored left to right."""
    offset: tuple[float, float]
    """Top and left of the (first) crop, normalized to [0, 1]; 0.5 when the crop fills the axis."""
    box: tuple[int, int, int, int] | None
    """Top, left, height and width in px of the part of the stored image that was resized to the view, if any was."""


class TargetError(Exception):
    """Carries what a user's function raised to where it is its batch's turn."""

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
    """The targets of a batch, put together by torch's `default_collate`; TargetError where `target` fails, or this.

    Args:
        target: The user's function.
        batch: The samples.
        labels_B: Their class numbers.
        keys: Their names.
        extras: Their other members.
        views: What is cut out of them.
    """
    try:
        rows = range(len(keys))
        return default_collate([target(_example(row, batch, labels_B, keys, extras, views)) for row in rows])
    except StopIteration as error:  # from a loop it would be the end of the epoch
        failure = RuntimeError("target raised StopIteration")
        failure.__cause__ = error
        raise TargetError(failure) from None
    except Exception as error:
        raise TargetError(error) from None


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
