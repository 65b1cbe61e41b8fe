"""Validation of a loader's options besides reading and decoding: operators, targets, sampling, mixing."""

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
    """Raise InputError for an argument of the wrong type, and for mixing that the other arguments rule out."""
    for name, function in (("operators", operators), ("target", target)):
        if function is not None and not callable(function):
            raise InputError(f"{name} must be a function, got {function!r}")
    for name, value, kind, example in (
        ("sampling", sampling, Sampling, "ClassBalanced()"),
        ("mix", mix, Mix, "Mix(mixup=0.2)"),
    ):
        if value is not None and not isinstance(value, kind):
            raise InputError(f"{name} must be an object such as alexkit.pipeline.{example}, got {value!r}")
    if mix is not None and (not augment.training or dtype == torch.uint8 or batch_size % 2):
        raise InputError(
            "mix is for training on float batches with an even batch_size, got "
            f"{type(augment).__name__}, {dtype} and batch_size {batch_size}"
        )


def check_labels(mix: Any, labels_N: NDArray[np.int32], allowed: NDArray[np.int64] | None) -> None:
    """Raise InputError for mixing if samples that may be drawn have no label."""
    if mix is not None and (num_none := int(((labels_N if allowed is None else labels_N[allowed]) < 0).sum())):
        raise InputError(
            f"mix turns labels into probabilities, but {num_none} samples have no label; leave them out with "
            "sampling=Subset(where=lambda labels: labels >= 0)"
        )
