"""The listing of a split as columns in memory or in a mapped file: about 50 bytes per image instead of 300 as objects.

The process that lists a source writes the file once; every process that works on it maps the file. A job consists of
the file's path and the positions of its images. The file holds a line of JSON and plain arrays; images become objects
when they are accessed. Text is stored as a folder, which many images share, and the rest.
"""

import json
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ...format.files import whole_file
from ...storage import ObjectStore, StoreUrl
from ..inputs import SourceImage, lines_of
from .kinds import image_of

MAGIC = b"alexkit inputs 1\n"
_ALIGNED = 64
_KEPT_MAPS = 8
_CHUNK = 2**10


class StoredListing(NamedTuple):
    """A copy of a listing's file in a store, for machines that cannot access the file."""

    url: StoreUrl
    num_bytes: int
    sha256: str


def small(values_N: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in the smallest dtype; a single one if all are equal."""
    if len(values_N) and (values_N == values_N[0]).all():
        values_N = values_N[:1]
    return values_N.astype(np.min_scalar_type(int(values_N.max(initial=0))))


@dataclass(kw_only=True, eq=False)
class ListedImages(Sequence[SourceImage]):
    """The images of a split as columns. `Gathered` builds one from images; `open` maps a file written by `write`."""

    kinds: tuple[str, ...]
    """The kinds of images in it."""
    columns: dict[str, NDArray[Any]]
    """Arrays by name."""
    length: int
    """Number of images."""
    path: Path | None = None
    """The file that the columns are mapped from; None in memory."""
    stored: StoredListing | None = None
    """The file's copy in a store, if there is one."""
    about: dict[str, Any] = field(default_factory=dict)
    """The `about` that the file was written with."""

    @classmethod
    def open(cls, path: Path) -> "ListedImages":
        """Map a file. Raises InputError if it is damaged or truncated, OSError if the disk fails."""
        with path.open("rb") as file:
            if file.readline() != MAGIC:
                raise InputError(f"{path}: not a listing of images; remove it and run the command again")
            head = json.loads(file.readline())
            start = -(-file.tell() // _ALIGNED) * _ALIGNED
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(mapped) != start + head["num_bytes"]:
            raise InputError(
                f"{path}: {len(mapped)} bytes, expected {start + head['num_bytes']}; remove it and run the command "
                "again"
            )
        columns = {
            name: np.frombuffer(mapped, np.dtype(kind), count, start + offset)
            for name, (kind, count, offset) in head["columns"].items()
        }
        return cls(kinds=tuple(head["kinds"]), columns=columns, length=head["length"], path=path, about=head["about"])

    def write(self, file: BinaryIO, about: dict[str, Any]) -> None:
        """Write a line that describes the columns, then the columns; `open` returns `about` unchanged."""
        places: dict[str, tuple[str, int, int]] = {}
        written: dict[int, int] = {}
        contents, offset = [], 0
        for name, values in self.columns.items():
            if id(values) not in written:
                written[id(values)] = offset
                contents.append(values)
                offset += -(-values.nbytes // _ALIGNED) * _ALIGNED
            places[name] = values.dtype.str, len(values), written[id(values)]
        head = {"kinds": self.kinds, "length": self.length, "num_bytes": offset, "columns": places, "about": about}
        text = MAGIC + json.dumps(head).encode() + b"\n"
        file.write(text + bytes(-len(text) % _ALIGNED))
        for values in contents:
            file.write(values.data.cast("B") if values.nbytes else b"")
            file.write(bytes(-values.nbytes % _ALIGNED))

    @property
    def num_bytes(self) -> int:
        """Bytes of all columns."""
        return sum({id(values): values.nbytes for values in self.columns.values()}.values())

    def take(self, places: NDArray[np.int64]) -> Sequence[SourceImage]:
        """The images at these positions: by reference if the file is mapped (cheap to send), else as objects."""
        if self.path is not None:
            return ListedSlice(self.path, places, self.stored)
        return [self[place] for place in places.tolist()]

    def labels(self) -> NDArray[np.int64]:
        """(N,): the label of each image."""
        if len(self.kinds) == 1:
            return np.broadcast_to(self.columns[f"{self.kinds[0]}.label"], self.length).astype(np.int64)
        labels_N = np.empty(self.length, np.int64)
        for number, kind in enumerate(self.kinds):
            is_kind_N = self.columns["kind"] == number
            own_N = self.columns[f"{kind}.label"]
            labels_N[is_kind_N] = own_N[self.columns["row"][is_kind_N]] if len(own_N) > 1 else own_N[0]
        return labels_N

    def names(self) -> Iterator[bytes]:
        """The name of each image, in UTF-8."""
        if len(self.kinds) == 1:
            chunks = self._texts(f"{self.kinds[0]}.name")
            return (text.encode("latin-1") for chunk in chunks for text in chunk)
        return (image.name.encode("utf-8", "surrogateescape") for image in self)

    def name(self, at: int) -> str:
        """The name of one image."""
        kind, row = self._place(at)
        return self._text(f"{kind}.name", row)

    def lines(self) -> Iterator[bytes]:
        """The content of a fingerprint: the lines that `lines_of` the images gives, many at a time."""
        if len(self.kinds) != 1 or f"{self.kinds[0]}.extras.ends" in self.columns:
            yield from lines_of(self)
            return
        label, num_bytes, name = (f"{self.kinds[0]}.{column}" for column in ("label", "num_bytes", "name"))
        # Formatted as text, which Python does faster; Latin-1 maps every byte to a character and back.
        for labels, sizes, names in zip(self._values(label), self._values(num_bytes), self._texts(name), strict=True):
            rows = zip(labels, sizes, names, strict=True)
            yield "".join([f"{one} {size} {text}\n" for one, size, text in rows]).encode("latin-1")

    def _values(self, column: str) -> Iterator[list[int]]:
        """The numbers of a column of the only kind, in chunks."""
        values = np.broadcast_to(self.columns[column], self.length)
        for start in range(0, self.length, _CHUNK):
            yield values[start : start + _CHUNK].tolist()

    def _texts(self, column: str) -> Iterator[list[str]]:
        """The text of a column of the only kind, in chunks; every byte is the character with its number (Latin-1)."""
        columns, bounds = self.columns, self.columns[f"{column}.folder_ends"].tolist()
        together = columns[f"{column}.folders"].tobytes().decode("latin-1")
        folders = [together[start:end] for start, end in pairwise(bounds)]
        folder_N = np.broadcast_to(columns.get(f"{column}.folder", np.zeros(1, np.uint8)), self.length)
        ends_N = np.broadcast_to(columns.get(f"{column}.ends", np.zeros(1, np.uint8)), self.length)
        rest, before = columns.get(f"{column}.rest", np.empty(0, np.uint8)), 0
        for start in range(0, self.length, _CHUNK):
            ends_C = ends_N[start : start + _CHUNK]
            behind = int(ends_C[-1])
            some = rest[before:behind].tobytes().decode("latin-1")
            bounds = [0, *(ends_C.astype(np.int64) - before).tolist()]
            numbers = folder_N[start : start + _CHUNK].tolist()
            yield [
                folders[folder] + some[first:end]
                for folder, (first, end) in zip(numbers, pairwise(bounds), strict=True)
            ]
            before = behind

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, at: int) -> SourceImage: ...
    @overload
    def __getitem__(self, at: slice) -> list[SourceImage]: ...
    def __getitem__(self, at: int | slice) -> SourceImage | list[SourceImage]:
        if isinstance(at, slice):
            return [self._image(i) for i in range(*at.indices(self.length))]
        if not -self.length <= at < self.length:
            raise IndexError(at)
        return self._image(at % self.length)

    def __iter__(self) -> Iterator[SourceImage]:
        return (self._image(i) for i in range(self.length))

    def _image(self, at: int) -> SourceImage:
        kind, row = self._place(at)
        return image_of(kind, row, self._number, self._text, has_extras=f"{kind}.extras.ends" in self.columns)

    def _place(self, at: int) -> tuple[str, int]:
        """Kind and row of an image."""
        if len(self.kinds) == 1:
            return self.kinds[0], at
        return self.kinds[self._number("kind", at)], self._number("row", at)

    def _number(self, column: str, row: int) -> int:
        values = self.columns[column]
        return int(values[row if len(values) > 1 else 0])

    def _text(self, column: str, row: int) -> str:
        columns = self.columns
        folder = self._number(f"{column}.folder", row) if f"{column}.folder" in columns else 0
        ends = columns[f"{column}.folder_ends"]
        text = columns[f"{column}.folders"][int(ends[folder]) : int(ends[folder + 1])].tobytes()
        if f"{column}.ends" in columns:
            ends = columns[f"{column}.ends"]
            if len(ends) == 1 and row:  # only the first value is not empty
                return text.decode("utf-8", "surrogateescape")
            start = int(ends[row - 1]) if row else 0
            text += columns[f"{column}.rest"][start : int(ends[row])].tobytes()
        return text.decode("utf-8", "surrogateescape")


class ListedSlice(Sequence[SourceImage]):
    """Some images of a mapped listing; pickled as the file's path and their positions."""

    def __init__(self, path: Path, places: NDArray[np.int64], stored: StoredListing | None = None) -> None:
        self.path, self.places, self.stored = path, places, stored

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, at: int) -> SourceImage: ...
    @overload
    def __getitem__(self, at: slice) -> "ListedSlice": ...
    def __getitem__(self, at: int | slice) -> "SourceImage | ListedSlice":
        if isinstance(at, slice):
            return ListedSlice(self.path, self.places[at], self.stored)
        return _opened(self.path, self.stored)[int(self.places[at])]


_maps: dict[Path, ListedImages] = {}


def _opened(path: Path, stored: StoredListing | None) -> ListedImages:
    """The file, mapped once per process; copied from the store first if this machine lacks it."""
    if path not in _maps:
        if len(_maps) >= _KEPT_MAPS:
            _maps.clear()
        if stored is not None and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)  # in the scratch folder of the run, which is removed later
            with whole_file(path) as file:
                ObjectStore(stored.url).download("", file, num_bytes=stored.num_bytes, sha256=stored.sha256)
        _maps[path] = ListedImages.open(path)
    return _maps[path]
