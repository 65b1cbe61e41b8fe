"""Holds out a validation split from a training split, by a rule that depends only on image names.

In each class, the images whose names `CLASS/FILE` have the smallest SHA-256 are held out: the rounded fraction, but at
least one and never all of a class with two or more images. Adding images later moves few others between the splits.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from ...errors import InputError
from .columns.ordered import names_of, selected
from .inputs import SourceSplit


def hold_out(split: SourceSplit, fraction: float) -> tuple[SourceSplit, SourceSplit]:
    """Divide `split` into a training and a validation split; raises InputError if no image can be held out."""
    is_val_N = np.zeros(len(split.images), bool)
    names, start = names_of(split.images), 0
    for _, count in sorted(split.labels_used().items()):
        held_out = _smallest(list(islice(names, count)), num_held_out(count, fraction))
        is_val_N[start + np.array(held_out, np.int64)] = True
        start += count
    if not is_val_N.any():
        raise InputError(
            f"--val-fraction {fraction:g}: no class has two or more images, so none can be held out; leave the option "
            "out"
        )
    train, val = (selected(split.images, np.flatnonzero(chosen_N)) for chosen_N in (~is_val_N, is_val_N))
    return replace(split, images=train), replace(split, name="val", images=val)


def num_held_out(num_images: int, fraction: float) -> int:
    """How many images of a class are held out."""
    return min(max(1, round(num_images * fraction)), num_images - 1)


def _smallest(names: Sequence[bytes], count: int) -> list[int]:
    """The positions of the `count` names with the smallest hashes."""
    hashes = sorted((hashlib.sha256(name).digest(), i) for i, name in enumerate(names))
    return [i for _, i in hashes[:count]]
