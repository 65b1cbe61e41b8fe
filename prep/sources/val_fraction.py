"""A validation split out of a training split, by a rule that depends on the names of the images alone.

Of each class the images whose names `CLASS/FILE` have the smallest SHA-256 are held out: the rounded fraction, but at
least one and never all of a class with two or more images. More images later move few from one side to the other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from .inputs import SourceImage, SourceSplit


def hold_out(split: SourceSplit, fraction: float) -> tuple[SourceSplit, SourceSplit]:
    """The training and the validation split that `split` is divided into."""
    train: list[SourceImage] = []
    val: list[SourceImage] = []
    for _, group in groupby(split.images, key=lambda image: image.label):
        images = list(group)
        held_out = _smallest(images, num_held_out(len(images), fraction))
        for i, image in enumerate(images):
            (val if i in held_out else train).append(image)
    return replace(split, images=train), replace(split, name="val", images=val)


def num_held_out(num_images: int, fraction: float) -> int:
    """How many of the images of a class are held out."""
    return min(max(1, round(num_images * fraction)), num_images - 1)


def _smallest(images: Sequence[SourceImage], count: int) -> set[int]:
    """The positions of the `count` images with the smallest hashes."""
    names = (image.name.encode("utf-8", "surrogateescape") for image in images)
    hashes = sorted((hashlib.sha256(name).digest(), i) for i, name in enumerate(names))
    return {i for _, i in hashes[:count]}
