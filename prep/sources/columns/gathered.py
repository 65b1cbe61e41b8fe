"""Turns images into columns while they are listed, so that only a few thousand of them are objects at any time.

A column is collected as short arrays, each of the smallest dtype that holds its numbers, and concatenated at the end.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inputs import SourceImage
from .kinds import NUMBERS, TEXTS, cut, extras_text, is_secret, kind_of
from .listed import ListedImages, small

_CHUNK = 2**12


class Gathered:
    """Collects images in order and returns them as a sequence.

    If any URL holds a password or a query, which must not be written to a file, all images stay objects.
    """

    def __init__(self) -> None:
        self._images: list[SourceImage] = []
        self._labels: list[int] = []
        self._of_kind: dict[str, _KindColumns] = {}
        self._kinds = _Numbers()
        self._objects: list[SourceImage] | None = None

    def __len__(self) -> int:
        return len(self._images) + (self._kinds.length if self._objects is None else len(self._objects))

    def add(self, image: SourceImage, label: int | None = None) -> None:
        """Add an image, with `label` in place of its own if given."""
        self._images.append(image)
        self._labels.append(image.label if label is None else label)
        if len(self._images) >= _CHUNK:
            self._flush()

    def extend(self, images: Iterable[SourceImage]) -> "Gathered":
        """Add images and return itself."""
        for image in images:
            self.add(image)
        return self

    def images(self) -> Sequence[SourceImage]:
        """All images: `ListedImages`, or a list if one must not be written to a file. Nothing can be added after."""
        self._flush()
        return self._listed() if self._objects is None else self._objects

    def _flush(self) -> None:
        images, labels, self._images, self._labels = self._images, self._labels, [], []
        if self._objects is None and any(map(is_secret, images)):
            self._objects = list(self._listed())
        if self._objects is not None:
            self._objects += [image.labeled(label) for image, label in zip(images, labels, strict=True)]
            return
        if not images:
            return
        types = set(map(type, images))
        kind_of_type = {one: kind_of(one) for one in types}
        for kind in sorted(set(kind_of_type.values())):
            self._of_kind.setdefault(kind, _KindColumns(kind))
        numbers = {kind: number for number, kind in enumerate(self._of_kind)}
        if len(types) == 1:
            (kind,) = kind_of_type.values()
            self._of_kind[kind].add(images, labels)
            self._kinds.add(np.full(len(images), numbers[kind]))
            return
        kinds = [kind_of_type[type(image)] for image in images]
        for kind in set(kinds):
            rows = [i for i, one in enumerate(kinds) if one == kind]
            self._of_kind[kind].add([images[i] for i in rows], [labels[i] for i in rows])
        self._kinds.add(np.array([numbers[kind] for kind in kinds]))

    def _listed(self) -> ListedImages:
        length, kinds = self._kinds.length, tuple(self._of_kind)
        columns: dict[str, NDArray[Any]] = {}
        for of_kind in self._of_kind.values():
            columns |= of_kind.columns()
        if len(kinds) > 1:
            columns["kind"] = kind_N = self._kinds.values()
            row_N = np.empty(length, np.uint64)
            for number in range(len(kinds)):
                row_N[kind_N == number] = np.arange((kind_N == number).sum())
            columns["row"] = small(row_N)
        return ListedImages(kinds=kinds, columns=columns, length=length)


class _KindColumns:
    """The columns of the images of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._count = 0
        self._numbers = {name: _Numbers() for name in ("label", "num_bytes", *NUMBERS[kind])}
        name = _Text()
        first, *others = TEXTS[kind]
        # Both often end in the file name.
        self._texts = {"name": name, first: _Text(beside=name), **{other: _Text() for other in others}}
        self._extras: _Text | None = None

    def add(self, images: Sequence[Any], labels: Sequence[int]) -> None:
        """Add images."""
        for name, numbers in self._numbers.items():
            values = labels if name == "label" else [int(getattr(image, name)) for image in images]
            numbers.add(np.array(values, np.uint64))
        for name, text in self._texts.items():
            text.add(*cut(name, images))
        if self._extras is None and any(image.extras for image in images):
            self._extras = _Text()
            self._extras.add(repeat("", self._count), [""] * self._count)
        if self._extras is not None:
            self._extras.add(repeat("", len(images)), [extras_text(image.extras) for image in images])
        self._count += len(images)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        found = {f"{self.kind}.{name}": numbers.values() for name, numbers in self._numbers.items()}
        texts = self._texts if self._extras is None else {**self._texts, "extras": self._extras}
        for name, text in texts.items():
            found |= {f"{self.kind}.{name}.{part}": values for part, values in text.columns().items()}
        return found


class _Numbers:
    """A column of nonnegative integers."""

    def __init__(self) -> None:
        self.chunks: list[NDArray[Any]] = []
        self.length = 0

    def add(self, values: NDArray[Any]) -> None:
        """Add numbers."""
        self.chunks.append(values.astype(np.min_scalar_type(int(values.max(initial=0)))))
        self.length += len(values)

    def values(self) -> NDArray[Any]:
        """All numbers in the smallest dtype; a single one if all are equal."""
        joined = np.concatenate([np.empty(0, np.uint8), *self.chunks])
        return joined[:1].copy() if len(joined) and (joined == joined[0]).all() else joined

    def ends(self) -> NDArray[Any]:
        """The cumulative sum of the numbers; a single value if all sums are equal."""
        total = sum(int(chunk.sum(dtype=np.uint64)) for chunk in self.chunks)
        ends_N, at, end = np.empty(self.length, np.min_scalar_type(total)), 0, 0
        for chunk in self.chunks:
            sums = end + np.cumsum(chunk, dtype=np.uint64)
            ends_N[at : at + len(chunk)] = sums
            at, end = at + len(chunk), int(sums[-1]) if len(sums) else end
        return ends_N[:1].copy() if len(ends_N) and (ends_N == ends_N[0]).all() else ends_N


class _Text:
    """A column of text.

    Its rests are not stored while they equal those of the column `beside`, which is filled first.
    """

    def __init__(self, beside: "_Text | None" = None) -> None:
        self._folders: dict[str, int] = {}
        self._folder_N = _Numbers()
        self._lengths_N = _Numbers()
        self._rest = bytearray()
        self._beside = beside
        self._last: Sequence[str] = ()
        self._rests: dict[str, NDArray[Any]] | None = None

    def add(self, folders: Iterable[str], rests: Sequence[str]) -> None:
        """Add values; each is the concatenation of a folder and a rest."""
        number_of = self._folders
        # `len` before `setdefault`, so that a new folder gets the next number.
        numbers = [number_of.setdefault(folder, len(number_of)) for folder in folders]
        self._folder_N.add(np.array(numbers, np.uint64))
        if self._beside is not None and rests != self._beside._last:
            before, self._beside = self._beside, None
            self._lengths_N.chunks = before._lengths_N.chunks[:-1]
            self._lengths_N.length = sum(map(len, self._lengths_N.chunks))
            self._rest += before._rest[: sum(int(chunk.sum(dtype=np.uint64)) for chunk in self._lengths_N.chunks)]
        self._last = rests
        if self._beside is None:
            encoded = [rest.encode("utf-8", "surrogateescape") for rest in rests]
            self._lengths_N.add(np.fromiter(map(len, encoded), np.uint64, len(encoded)))
            self._rest += b"".join(encoded)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        folders = [folder.encode("utf-8", "surrogateescape") for folder in self._folders]
        found: dict[str, NDArray[Any]] = {
            "folder_ends": np.cumsum([0, *map(len, folders)]).astype(np.uint64),
            "folders": np.frombuffer(b"".join(folders), np.uint8),
        }
        if len(self._folders) > 1:
            found["folder"] = self._folder_N.values()
        return found | (self if self._beside is None else self._beside)._rest_columns()

    def _rest_columns(self) -> dict[str, NDArray[Any]]:
        """Built once, so that two columns can share them."""
        if self._rests is None:
            self._rests = {}
            if self._rest:
                self._rests = {"ends": self._lengths_N.ends(), "rest": np.frombuffer(self._rest, np.uint8)}
        return self._rests
