"""NumPy's arrays of images and labels: MedMNIST's `.npz` files, Keras's `mnist.npz`, KMNIST's, and unpacked `.npy`.

Names tell what an array is: `train_images` and `train_labels`, or `x_train` and `y_train`. Images are (N, H, W) or
(N, H, W, 3) of uint8, labels (N,) or (N, 1).
"""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...format.shard_set import SPLITS
from ...storage.by_offset import address_of
from ..inputs import SourceSplit
from ..labels import Unlabeled
from ..options import SourceOptions
from ..remarks import Remarks
from ..split_names import split_called
from .image import Axes, PixelArray
from .npy import Npy, array_in_npy, array_in_npz, members_of
from .rows import Found, Part, split_of

# train_images, x_train; in names of files also kmnist-train-imgs.npz, k49-test-labels.npz
_IMAGES = (r"(?P<split>[a-z]+)_images", r"[xX]_(?P<split>[a-z]+)")
_LABELS = (r"(?P<split>[a-z]+)_labels", r"[yY]_(?P<split>[a-z]+)")
_OF_KMNIST = re.compile(r"(?P<family>.+)-(?P<split>train|test)-(?P<what>imgs|labels)\.npz")
EXPECTED = "train_images and train_labels, as in MedMNIST, or x_train and y_train"


class _Pair(NamedTuple):
    """The names of the images and the labels of a split; labels may be missing."""

    images: str
    labels: str | None
    other: str | None = None
    """The name of other images of the same split, for which these could be mistaken."""


def recognize(names: Collection[str]) -> list[Found]:
    """Data sets in `.npy` files, and KMNIST's, among files with these names."""
    found = []
    of_npy = _pairs([name.removesuffix(".npy") for name in names if name.endswith(".npy")])
    if of_npy:
        pairs = {
            split: _Pair(f"{images}.npy", labels and f"{labels}.npy", other and f"{other}.npy")
            for split, (images, labels, other) in of_npy.items()
        }
        found.append(_found("NumPy arrays", "", pairs, array_in_npy))
    families: dict[str, dict[str, dict[str, str]]] = {}
    for name in names:
        if match := _OF_KMNIST.fullmatch(name):
            families.setdefault(match["family"], {}).setdefault(match["split"], {})[match["what"]] = name
    for family, of_split in sorted(families.items()):
        pairs = {
            split: _Pair(of_what["imgs"], of_what.get("labels"))
            for split, of_what in of_split.items()
            if "imgs" in of_what
        }
        if pairs:
            found.append(_found(f"NumPy arrays of {family}", f"{family}-", pairs, _only_array))
    return found


def read_npz(path: Path, options: SourceOptions, remarks: Remarks) -> tuple[str, tuple[SourceSplit, ...]]:
    """The splits of one `.npz` file; raises InputError, naming its arrays, if none are images and labels of a split."""
    arrays = members_of(path)
    pairs = _pairs(arrays)
    if not pairs:
        raise InputError(
            f"{path}: arrays {', '.join(sorted(arrays)) or 'none'}; expected {EXPECTED}; write the images to class "
            "folders, one PNG each, and pass that"
        )
    used = {name for pair in pairs.values() for name in pair if name}
    for name in sorted(arrays.keys() - used):
        remarks.pass_over("arrays that are not images or labels of a split", f"{path}: {name}")
    splits = []
    for split in (one for one in SPLITS if one in pairs):
        try:
            splits.append(_split(pairs[split], lambda name: array_in_npz(path, arrays[name]), split, split, options))
        except Unlabeled as error:
            if split != "test" or not splits:
                raise
            remarks.note(f"left out: {split} of {error}")
    return f"NumPy arrays in {path}", tuple(splits)


def _pairs(names: Collection[str]) -> dict[str, _Pair]:
    """The arrays of each split by their names."""
    found: dict[str, _Pair] = {}
    for of_images, of_labels in zip(_IMAGES, _LABELS, strict=True):
        labels = {match["split"]: name for name in names if (match := re.fullmatch(of_labels, name))}
        for name in sorted(names):
            match = re.fullmatch(of_images, name)
            if match and (split := split_called(match["split"])):
                one = found.get(split)
                found[split] = _Pair(name, labels.get(match["split"])) if one is None else one._replace(other=name)
    return found


def _found(kind: str, family: str, pairs: dict[str, _Pair], open_array: Callable[[Path], Npy]) -> Found:
    files = {split: tuple(name for name in pair[:2] if name) for split, pair in pairs.items()}

    def read(folder: Path, split: str, options: SourceOptions, _: Remarks) -> SourceSplit:
        return _split(pairs[split], lambda name: open_array(folder / name), split, f"{family}{split}", options)

    return Found("npz", kind, files, read)


def _only_array(path: Path) -> Npy:
    arrays = members_of(path)
    if len(arrays) != 1:
        raise InputError(f"{path}: arrays {', '.join(sorted(arrays)) or 'none'}; expected one")
    return array_in_npz(path, next(iter(arrays.values())))


def _split(pair: _Pair, array_of: Callable[[str], Npy], split: str, stem: str, options: SourceOptions) -> SourceSplit:
    found = array_of(pair.images)
    if pair.other is not None:
        raise InputError(
            f"{found.where}: images of the {split} split, and so are those in {pair.other}; keep one of them, with its "
            "labels"
        )
    array = _images(found)
    labels = None if pair.labels is None else _labels(array_of(pair.labels), array)
    return split_of(split, [Part(array, labels, stem)], options)


def _images(found: Npy) -> PixelArray:
    if (
        found.dtype != "|u1"
        or len(found.shape) not in (3, 4)
        or (len(found.shape) == 4 and found.shape[3] not in (1, 3))
    ):
        raise InputError(
            f"{found.where}: {found.dtype} of shape {found.shape}; expected images: uint8 of shape (N, H, W) or "
            "(N, H, W, 3)"
        )
    if not found.num_bytes:
        raise InputError(f"{found.where}: shape {found.shape}: no images")
    num_images, height, width, channels = (*found.shape, 1)[:4]
    # Of an array in Fortran's order, the bytes of an image have its axes reversed.
    axes: Axes = "CWH" if found.is_fortran else "HWC"
    image_bytes = height * width * channels
    return PixelArray(
        address_of(found.path),
        found.start,
        num_images,
        image_bytes,
        axes,
        height,
        width,
        channels,
        found.packing,
        found.packed_start,
        found.num_packed,
        found.is_fortran,
    )


def _labels(found: Npy, array: PixelArray) -> list[int]:
    if len(found.shape) not in (1, 2) or found.shape[1:] not in ((), (1,)):
        raise InputError(
            f"{found.where}: labels of shape {found.shape}; expected one per image, (N,) or (N, 1); several, as in "
            "ChestMNIST, are not read"
        )
    numbers: list[int] = found.numbers().tolist()
    if len(numbers) != array.num_images:
        raise InputError(f"{found.where}: {len(numbers):,} labels for {array.num_images:,} images; download it again")
    return numbers
