"""The listing of a split as columns: some 50 bytes an image instead of 300 as objects, in memory or mapped from a file.

The file is written once by whoever lists a source, and mapped by every process that works on it: a job names the file
and the places of its images. It holds plain arrays behind a line of JSON; images become objects when they are asked
for. Text is kept as a folder, which many images share, and what follows it.
"""

import base64
import json
import mmap
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast, overload

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..format.files import whole_file
from ..storage import ObjectStore, StoreUrl
from ..storage.url import Scheme
from .folders.store_folder import StoreImage
from .folders.zip_folder import ZipImage
from .inputs import Extra, FileImage, SourceImage

MAGIC = b"alexkit inputs 1\n"
_ALIGNED = 64
_KEPT_MAPS = 8

# Numbers and text of each kind of image; every image has a name, a label, a size and perhaps extras.
_NUMBERS = {
    "file": ("offset",),
    "store": (),
    "zip": ("offset", "num_packed", "is_deflated", "crc32"),
    "parquet": ("row",),
}
_TEXTS = {"file": ("path",), "store": ("url", "e_tag"), "zip": ("path",), "parquet": ("chunk",)}


_KINDS = {"FileImage": "file", "StoreImage": "store", "ZipImage": "zip", "ParquetImage": "parquet"}
_CHUNK = 2**16


class StoredListing(NamedTuple):
    """A copy of a listing's file in a store, for machines that do not see the file."""

    url: StoreUrl
    num_bytes: int
    sha256: str


class _Text:
    """A column of text while it is made."""

    def __init__(self) -> None:
        self.folders: dict[str, int] = {}
        self.folder_N = array("I")
        self.ends_N = array("Q")
        self.rest = bytearray()

    def add(self, folders: Iterable[str], rests: Sequence[str]) -> None:
        """More values, each a folder and the rest without anything between them."""
        number_of = self.folders
        # `len` before `setdefault`, so that a new folder gets the next number.
        self.folder_N.extend([number_of.setdefault(folder, len(number_of)) for folder in folders])
        encoded = [rest.encode("utf-8", "surrogateescape") for rest in rests]
        ends_N = np.cumsum([len(self.rest), *map(len, encoded)], dtype=np.uint64)[1:]
        self.ends_N.frombytes(ends_N.tobytes())
        self.rest += b"".join(encoded)

    def columns(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays."""
        found: dict[str, NDArray[Any]]
        folders = [folder.encode("utf-8", "surrogateescape") for folder in self.folders]
        lengths = np.array([0, *map(len, folders)], np.int64)
        found = {
            f"{name}.folder_ends": np.cumsum(lengths).astype(np.uint64),
            f"{name}.folders": np.frombuffer(b"".join(folders), np.uint8),
        }
        if len(self.folders) > 1:
            found[f"{name}.folder"] = _small(np.frombuffer(self.folder_N, np.uint32))
        if self.rest:
            found[f"{name}.ends"] = _small(np.frombuffer(self.ends_N, np.uint64))
            found[f"{name}.rest"] = np.frombuffer(self.rest, np.uint8)
        return found


def _small(values_N: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in the fewest bytes; a single one where all are the same."""
    if len(values_N) and (values_N == values_N[0]).all():
        values_N = values_N[:1]
    most = int(values_N.max(initial=0))
    kind = next(kind for kind in (np.uint8, np.uint16, np.uint32, np.uint64) if most <= np.iinfo(kind).max)
    return values_N.astype(kind)


@dataclass(kw_only=True, eq=False)
class ListedImages(Sequence[SourceImage]):
    """The images of a split as columns. `of` makes one of images, `open` maps a file that `write` wrote."""

    kinds: tuple[str, ...]
    """The kinds of images that there are."""
    columns: dict[str, NDArray[Any]]
    """Arrays by name."""
    length: int
    """How many images there are."""
    path: Path | None = None
    """The file that they are mapped from."""
    stored: StoredListing | None = None
    """Its copy in a store."""
    about: dict[str, Any] = field(default_factory=dict)
    """What else the file says."""

    @classmethod
    def of(cls, images: Sequence[SourceImage]) -> "ListedImages | None":
        """The columns of `images`; None where an address holds a password or a query, which no file may hold."""
        kind_of = {kind: _KINDS[kind.__name__] for kind in set(map(type, images))}
        kinds = tuple(sorted(kind_of.values()))
        for image in images if "store" in kinds else ():
            if isinstance(image, StoreImage) and (image.url.userinfo or image.url.query):
                return None
        texts = {f"{kind}.{name}": _Text() for kind in kinds for name in ("name", *_TEXTS[kind])}
        numbers = {f"{kind}.{name}": array("Q") for kind in kinds for name in ("label", "num_bytes", *_NUMBERS[kind])}
        extras: dict[str, _Text] = {f"{kind}.extras": _Text() for kind in kinds}
        kind_N, row_N, counts = array("B"), array("Q"), dict.fromkeys(kinds, 0)
        for start in range(0, len(images), _CHUNK):
            chunk = images[start : start + _CHUNK]
            for kind in kinds:
                some: Sequence[Any] = chunk
                if len(kinds) > 1:
                    some = [image for image in chunk if kind_of[type(image)] == kind]
                for name in ("label", "num_bytes", *_NUMBERS[kind]):
                    numbers[f"{kind}.{name}"].extend([int(getattr(image, name)) for image in some])
                for name in ("name", *_TEXTS[kind]):
                    folders, rests = _cut(name, some)
                    texts[f"{kind}.{name}"].add(folders, rests)
                if any(image.extras for image in some) or extras[f"{kind}.extras"].rest:
                    _fill_up(extras[f"{kind}.extras"], counts[kind])
                    extras[f"{kind}.extras"].add(repeat("", len(some)), [_extras_text(image.extras) for image in some])
                if len(kinds) == 1:
                    counts[kind] += len(some)
            for image in chunk if len(kinds) > 1 else ():
                kind = kind_of[type(image)]
                kind_N.append(kinds.index(kind))
                row_N.append(counts[kind])
                counts[kind] += 1
        columns = {name: _small(np.frombuffer(values, np.uint64)) for name, values in numbers.items()}
        for name, text in (texts | {name: text for name, text in extras.items() if text.rest}).items():
            columns |= text.columns(name)
        if len(kinds) > 1:
            columns |= {"kind": _small(np.frombuffer(kind_N, np.uint8)), "row": _small(np.frombuffer(row_N, np.uint64))}
        for kind in kinds:  # the file's name is often the end of both
            _share(columns, f"{kind}.name", f"{kind}.{_TEXTS[kind][0]}")
        return cls(kinds=kinds, columns=columns, length=len(images))

    @classmethod
    def open(cls, path: Path) -> "ListedImages":
        """Map a file. Raises InputError for one that is damaged or cut, OSError from the disk."""
        with path.open("rb") as file:
            if file.readline() != MAGIC:
                raise InputError(f"{path}: not a listing of images; remove it, and the run begins again")
            head = json.loads(file.readline())
            start = -(-file.tell() // _ALIGNED) * _ALIGNED
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(mapped) != start + head["num_bytes"]:
            raise InputError(f"{path}: {len(mapped)} bytes, expected {start + head['num_bytes']}; remove it")
        columns = {
            name: np.frombuffer(mapped, np.dtype(kind), count, start + offset)
            for name, (kind, count, offset) in head["columns"].items()
        }
        return cls(kinds=tuple(head["kinds"]), columns=columns, length=head["length"], path=path, about=head["about"])

    def write(self, file: BinaryIO, about: dict[str, Any]) -> None:
        """Write the columns behind a line that says what they are; `about` is given back by `open`."""
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
        """The images at these places: of a mapped file by reference, which is short to send, else themselves."""
        if self.path is not None:
            return ListedSlice(self.path, places, self.stored)
        return [self[place] for place in places.tolist()]

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
        kind = self.kinds[0] if len(self.kinds) == 1 else self.kinds[self._number("kind", at)]
        row = at if len(self.kinds) == 1 else self._number("row", at)
        name, label = self._text(f"{kind}.name", row), self._number(f"{kind}.label", row)
        num_bytes = self._number(f"{kind}.num_bytes", row)
        extras = _extras_of(self._text(f"{kind}.extras", row)) if f"{kind}.extras.ends" in self.columns else ()
        numbers = [self._number(f"{kind}.{column}", row) for column in _NUMBERS[kind]]
        texts = [self._text(f"{kind}.{column}", row) for column in _TEXTS[kind]]
        if kind == "file":
            return FileImage(name, label, texts[0], num_bytes, numbers[0], extras)
        if kind == "store":
            url, e_tag = texts
            return StoreImage(name, label, _url(url), num_bytes, e_tag or None, extras)
        if kind == "zip":
            offset, num_packed, is_deflated, crc32 = numbers
            return ZipImage(name, label, texts[0], num_bytes, offset, num_packed, bool(is_deflated), crc32, extras)
        from .parquet.pages import ColumnChunk
        from .parquet.rows import ParquetImage

        return ParquetImage(name, label, ColumnChunk(*json.loads(texts[0])), numbers[0], extras)

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
    """Some images of a mapped listing. Sent to another process it is the file's path and their places."""

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
    """The file, mapped once in each process; copied from the store where this machine does not see it."""
    if path not in _maps:
        if len(_maps) >= _KEPT_MAPS:
            _maps.clear()
        _maps[path] = ListedImages.open(path if stored is None or path.exists() else _copy_of(stored))
    return _maps[path]


def _copy_of(stored: StoredListing) -> Path:
    """A copy below TMPDIR, shared by the processes of this machine; called by its hash."""
    path = Path(tempfile.gettempdir()) / f"alexkit-listing-{stored.sha256[:32]}.inputs"
    if not path.exists():
        with whole_file(path) as file:
            ObjectStore(stored.url).download("", file, num_bytes=stored.num_bytes, sha256=stored.sha256)
    return path


def _cut(name: str, images: Sequence[Any]) -> tuple[Iterable[str], Sequence[str]]:
    """The values of a column of text, cut where many images have the same beginning."""
    if name == "chunk":
        return [json.dumps(list(image.chunk)) for image in images], [""] * len(images)
    if name == "e_tag":
        return repeat("", len(images)), [image.e_tag or "" for image in images]
    if name == "path":  # where it is that of a file with many images, not cut
        pairs = [
            (image.path, "") if isinstance(image, ZipImage) or image.offset else _halves(image.path) for image in images
        ]
    else:
        pairs = [_halves(str(getattr(image, name))) for image in images]
    return [folder for folder, _ in pairs], [rest for _, rest in pairs]


def _halves(text: str) -> tuple[str, str]:
    at = text.rfind("/") + 1
    return text[:at], text[at:]


def _fill_up(column: _Text, count: int) -> None:
    """Give a column that begins late empty values for the images before."""
    missing = count - len(column.ends_N)
    column.add(repeat("", missing), [""] * missing)


def _url(text: str) -> StoreUrl:
    """The address that `str` gave; not parsed as what a person types, since names in a store may hold `#` and `?`."""
    scheme, _, rest = text.partition("://")
    host, _, path = rest.partition("/")
    return StoreUrl(cast(Scheme, scheme), host, path)


def _share(columns: dict[str, NDArray[Any]], one: str, other: str) -> None:
    """Keep the arrays of `other` that are those of `one` only once."""
    for part in ("ends", "rest"):
        here, there = columns.get(f"{one}.{part}"), columns.get(f"{other}.{part}")
        if here is not None and there is not None and np.array_equal(here, there):
            columns[f"{other}.{part}"] = here


def _extras_text(extras: tuple[Extra, ...]) -> str:
    if not extras:
        return ""
    rows = [(one.ext, base64.b64encode(one.content).decode(), *one[2:]) for one in extras]
    return json.dumps(rows)


def _extras_of(text: str) -> tuple[Extra, ...]:
    rows = json.loads(text) if text else []
    return tuple(Extra(ext, base64.b64decode(content), *rest) for ext, content, *rest in rows)
