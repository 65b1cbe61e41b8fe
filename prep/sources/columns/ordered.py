"""Reorders and relabels sequences of images: columns without creating objects, lists as lists."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inputs import SourceImage
from .listed import ListedImages, small

_CHUNK = 2**16


def in_order(images: Sequence[SourceImage]) -> Sequence[SourceImage]:
    """Sort by label and name; images of the same name keep their order."""
    if not isinstance(images, ListedImages):
        return sorted(images, key=lambda image: (image.label, image.name))
    labels_N = images.labels()
    if not (labels_N[1:] < labels_N[:-1]).any() and _names_ascend(images, labels_N):
        return images
    order_N = np.argsort(labels_N, kind="stable")
    bounds = [0, *(np.flatnonzero(np.diff(labels_N[order_N])) + 1).tolist(), len(images)]
    for start, end in pairwise(bounds):  # names of one class at a time
        places = order_N[start:end].tolist()
        names = [images.name(place) for place in places]
        order_N[start:end] = [places[i] for i in sorted(range(len(names)), key=names.__getitem__)]
    return selected(images, order_N)


def relabeled(
    images: Sequence[SourceImage], label_of: Sequence[int], class_ids: Sequence[str] | None = None
) -> Sequence[SourceImage]:
    """The images with labels `label_of[label]`; `class_ids`, by new label, are put before names that have none yet."""
    if not isinstance(images, ListedImages):
        ids = [None if class_ids is None else class_ids[label] for label in label_of]
        return [image.labeled(label_of[image.label], ids[image.label]) for image in images]
    new_of = np.array([*label_of, 0], np.int64)  # never empty
    columns = dict(images.columns)
    for kind in images.kinds:
        label_N = columns[f"{kind}.label"]
        columns[f"{kind}.label"] = small(new_of[label_N])
        if class_ids is not None:
            columns |= _named_by_class(columns, f"{kind}.name", columns[f"{kind}.label"], class_ids)
    return ListedImages(kinds=images.kinds, columns=columns, length=images.length)


def names_of(images: Sequence[SourceImage]) -> Iterator[bytes]:
    """The name of each image, in UTF-8."""
    if isinstance(images, ListedImages):
        return images.names()
    return (image.name.encode("utf-8", "surrogateescape") for image in images)


def selected(images: Sequence[SourceImage], places: NDArray[np.int64]) -> Sequence[SourceImage]:
    """The images at these positions, in this order."""
    if not isinstance(images, ListedImages):
        return [images[place] for place in places.tolist()]
    columns = dict(images.columns)
    if len(images.kinds) > 1:
        for name in ("kind", "row"):
            columns[name] = _taken(columns[name], places)
        return ListedImages(kinds=images.kinds, columns=columns, length=len(places))
    rests: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}  # columns may share them
    for name, values in images.columns.items():
        column, _, part = name.rpartition(".")
        if part == "ends":
            if id(values) not in rests:
                rests[id(values)] = _taken_rests(values, columns[f"{column}.rest"], places, len(images))
            columns[name], columns[f"{column}.rest"] = rests[id(values)]
        elif part not in ("rest", "folders", "folder_ends"):
            columns[name] = _taken(values, places)
    return ListedImages(kinds=images.kinds, columns=columns, length=len(places))


def _names_ascend(images: ListedImages, labels_N: NDArray[np.int64]) -> bool:
    """Whether the names within each class are sorted; the images of a class are adjacent."""
    is_new_class = np.diff(labels_N) != 0
    before = ""
    for at, encoded in enumerate(images.names()):
        name = encoded.decode("utf-8", "surrogateescape")
        if name < before and not is_new_class[at - 1]:
            return False
        before = name
    return True


def _named_by_class(
    columns: dict[str, NDArray[Any]], name: str, label_N: NDArray[Any], class_ids: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """The name columns with class ids put before the names."""
    bounds = columns[f"{name}.folder_ends"].tolist()
    together = columns[f"{name}.folders"].tobytes()
    folder_N = columns.get(f"{name}.folder", np.zeros(1, np.uint8))
    length = max(len(folder_N), len(label_N))
    numbers: dict[tuple[int, int], int] = {}
    number_N = np.empty(length, np.uint32)
    for start in range(0, length, _CHUNK):
        stop = min(start + _CHUNK, length)
        pairs_N = [np.broadcast_to(values, length)[start:stop].tolist() for values in (label_N, folder_N)]
        number_N[start:stop] = [numbers.setdefault(pair, len(numbers)) for pair in zip(*pairs_N, strict=True)]
    ids = [f"{class_id}/".encode("utf-8", "surrogateescape") for class_id in class_ids]
    folders = [ids[label] + together[bounds[folder] : bounds[folder + 1]] for label, folder in numbers]
    return {
        f"{name}.folder": small(number_N),
        f"{name}.folder_ends": np.cumsum([0, *map(len, folders)]).astype(np.uint64),
        f"{name}.folders": np.frombuffer(b"".join(folders), np.uint8),
    }


def _taken(values_N: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
    """The numbers at these positions; a single one stands for all."""
    return values_N if len(values_N) == 1 else values_N[places]


def _taken_rests(
    ends_N: NDArray[Any], rest: NDArray[np.uint8], places: NDArray[np.int64], length: int
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Ends and bytes of the rests at these positions."""
    all_ends_N = np.broadcast_to(ends_N, length)
    ends = all_ends_N[places].astype(np.int64)
    starts = np.where(places > 0, all_ends_N[np.maximum(places - 1, 0)], 0).astype(np.int64)
    new_ends = np.cumsum(ends - starts)
    taken = np.empty(int(new_ends[-1]) if len(new_ends) else 0, np.uint8)
    for start in range(0, len(places), _CHUNK):
        part = slice(start, start + _CHUNK)
        lengths = ends[part] - starts[part]
        begin = int(new_ends[start] - lengths[0])
        # Where each byte comes from: the start of its rest plus its offset in that rest.
        first = np.repeat(starts[part] - (new_ends[part] - lengths), lengths)
        end = begin + len(first)
        taken[begin:end] = rest[first + np.arange(begin, end)]
    return small(new_ends), taken
