"""What a source gives: splits of images, each image known by name, label and where its bytes are."""

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..format.manifest import ClassEntry
from ..storage.by_offset import opened, shown

OWN_FAULTS = frozenset(
    (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO)
)
"""Errors that mean an input is missing or may not be read; any other is the fault of its source, and may pass."""
MAX_INPUT_BYTES = 2**28
MAX_EXTRA_BYTES = 2**24

ClassOrder = Literal["text", "numbers", "table"]
"""Where the order of a class table is from: ids sorted as text, numbers that serve as labels, or the source's table."""


class Extra(NamedTuple):
    """A further member or column that is stored with an image: its content, or where in a file it lies."""

    ext: str
    content: bytes
    path: str = ""
    offset: int = 0
    num_bytes: int = 0

    def read(self) -> bytes:
        """The content; InputError when it is too large or was cut, OSError from the disk."""
        if not self.path:
            return self.content
        if self.num_bytes > MAX_EXTRA_BYTES:
            raise InputError(f"{self.ext} of {self.num_bytes} bytes, more than {MAX_EXTRA_BYTES} that can be kept")
        return read_range(self.path, self.offset, self.num_bytes)


class SourceImage(Protocol):
    """One input: `CLASS/FILE`, its label, its size, and a way to its bytes."""

    @property
    def name(self) -> str:
        """`CLASS/FILE`."""

    @property
    def label(self) -> int:
        """The class index."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the image; where a listing cannot tell, of the section of the file that holds it."""

    @property
    def container(self) -> str:
        """The path, or the address in a store, of the file that it is, or that holds it."""

    @property
    def extras(self) -> tuple[Extra, ...]:
        """What is stored with the image on request, sorted by extension."""

    def read(self) -> bytes:
        """The content; InputError when it is larger than any sane image file or has changed, OSError from the disk."""

    def labeled(self, label: int, class_id: str | None = None) -> Self:
        """The same image with another class index; `class_id` goes before its name, which has none yet."""

    def keeping(self, extra: Extra) -> Self:
        """The same image with one thing more that is stored with it."""


@runtime_checkable
class AsColumns(Protocol):
    """A sequence of images that are no objects, and can be asked for what is needed of all of them."""

    def take(self, places: NDArray[np.int64]) -> Sequence[SourceImage]:
        """The images at these places, perhaps by reference."""

    def labels(self) -> NDArray[np.int64]:
        """(N,): the label of each image."""

    def lines(self) -> Iterator[bytes]:
        """What `lines_of` gives of its images."""


def lines_of(images: Iterable[SourceImage]) -> Iterator[bytes]:
    """What a fingerprint is made of: every image's label, size, name and extras."""
    for image in images:
        yield f"{image.label} {image.num_bytes} {image.name}\n".encode("utf-8", "surrogateescape")
        for extra in image.extras:
            yield f"{extra.ext} {extra.num_bytes} ".encode("utf-8", "surrogateescape") + extra.content


class FileImage(NamedTuple):
    """An input that is a file, or bytes within one. (A tuple: there are more than a million.)

    `offset` is not 0 for a member of an archive.
    """

    name: str
    label: int
    path: str
    num_bytes: int
    offset: int = 0
    extras: tuple[Extra, ...] = ()

    def read(self) -> bytes:
        """The content, as `SourceImage` says."""
        if self.num_bytes > MAX_INPUT_BYTES:
            raise InputError(f"file of {self.num_bytes} bytes, more than {MAX_INPUT_BYTES}")
        return read_range(self.path, self.offset, self.num_bytes)

    def labeled(self, label: int, class_id: str | None = None) -> "FileImage":
        """As `SourceImage` says."""
        name, _, path, num_bytes, offset, extras = self
        return FileImage(name if class_id is None else f"{class_id}/{name}", label, path, num_bytes, offset, extras)

    def keeping(self, extra: Extra) -> "FileImage":
        """As `SourceImage` says."""
        return self._replace(extras=tuple(sorted((*self.extras, extra))))

    @property
    def container(self) -> str:
        """As `SourceImage` says."""
        return shown(self.path)


def read_range(path: str, offset: int, num_bytes: int) -> bytes:
    """`num_bytes` from `offset` of a file; InputError when it is shorter by now."""
    with opened(path) as file:
        data = file.read_at(offset, num_bytes)
    if len(data) != num_bytes:
        raise InputError(f"{len(data)} bytes, {num_bytes} when the source was listed")
    return data


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether a listed name is a folder; a link in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def size_of(entry: "os.DirEntry[str]") -> int:
    """Bytes of a listed file; 0 for one that cannot be looked at, as a link to nothing: reading it gives the reason."""
    try:
        return entry.stat().st_size
    except OSError:
        return 0


class Known(NamedTuple):
    """What follows from all images of a split, where it was found before."""

    fingerprint: str
    counts: tuple[int, ...]
    """Images of each class index."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSplit:
    """One split: its class table and its images, sorted by label and name."""

    name: str
    """`train`, `val` or `test`."""
    classes: tuple[ClassEntry, ...]
    """The class table; label i is row i."""
    images: Sequence[SourceImage]
    """Every input, in the order of the plan."""
    class_order: ClassOrder = "text"
    """Where the order of the class table is from."""
    known: Known | None = None
    """What a kept listing says of its images."""
    root: str = ""
    """The folder or address below which its files are."""

    def fingerprint(self) -> str:
        """SHA-256 over class ids and every image's name, label and size; an edit that keeps them all goes unseen."""
        if self.known is not None:
            return self.known.fingerprint
        digest = hashlib.sha256()
        for entry in self.classes:
            digest.update(f"{entry.index} {entry.id}\n".encode("utf-8", "surrogateescape"))
        for line in self.images.lines() if isinstance(self.images, AsColumns) else lines_of(self.images):
            digest.update(line)
        return digest.hexdigest()

    def take(self, places: NDArray[np.int64]) -> "Sequence[SourceImage]":
        """The images at these places; of a kept listing they are named, and read where they are needed."""
        if isinstance(self.images, AsColumns):
            return self.images.take(places)
        return [self.images[place] for place in places.tolist()]

    def images_per_class(self) -> dict[str, int]:
        """How many inputs each class id has."""
        counts = self.labels_used() if self.known is None else self.known.counts
        return {entry.id: counts[entry.index] for entry in self.classes}

    def labels_used(self) -> Counter[int]:
        """How many inputs each label has."""
        if not isinstance(self.images, AsColumns):
            return Counter(image.label for image in self.images)
        counts = np.bincount(self.images.labels())
        return Counter({label: count for label, count in enumerate(counts.tolist()) if count})
