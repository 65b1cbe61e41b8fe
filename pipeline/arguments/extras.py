"""Checks of what a loader does besides reading and decoding: operators, targets, sampling, mixing."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import InputError
from ..augment import Augmentation
from ..epochs.sampling import Sampling
from ..mixing import Mix


def check_extras(
    augment: Augmentation, dtype: torch.dtype, batch_size: int, operators: Any, target: Any, sampling: Any, mix: Any
) -> None:
    """Refuse what is no function, no sampling and no mix, and mixing where it makes no sense, by InputError."""
    for name, function in (("operators", operators), ("target", target)):
        if function is not None and not callable(function):
            raise InputError(f"{name} must be a function, got {function!r}")
    for name, value, kind in (("sampling", sampling, Sampling), ("mix", mix, Mix)):
        if value is not None and not isinstance(value, kind):
            raise InputError(f"{name} must be made of alexkit.pipeline's own, got {value!r}")
    if mix is not None and (not augment.training or dtype == torch.uint8 or batch_size % 2):
        raise InputError("mix is for training, on float batches of an even batch_size")


def check_labels(mix: Any, labels_N: NDArray[np.int32], allowed: NDArray[np.int64] | None) -> None:
    """Refuse mixing where samples that may come have no label, by InputError."""
    if mix is not None and (num_none := int(((labels_N if allowed is None else labels_N[allowed]) < 0).sum())):
        raise InputError(
            f"mix makes probabilities of labels, and {num_none} samples have none; leave them out by "
            "sampling=Subset(where=lambda labels: labels >= 0)"
        )
