"""What a source provides: splits of images, and the name, label and location of each image."""

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
"""Errors of a missing or forbidden input; all others are its source's fault and may be temporary."""
MAX_INPUT_BYTES = 2**28
MAX_EXTRA_BYTES = 2**24

ClassOrder = Literal["text", "numbers", "table"]
"""Where the order of a class table comes from: ids sorted as text, numeric labels, or the source's own table."""


class Extra(NamedTuple):
    """An additional member or column that is stored with an image: its content, or its location in a file."""

    ext: str
    content: bytes
    path: str = ""
    offset: int = 0
    num_bytes: int = 0

    def read(self) -> bytes:
        """Return the content; raises InputError if it is too large or truncated, OSError if the disk fails."""
        if not self.path:
            return self.content
        if self.num_bytes > MAX_EXTRA_BYTES:
            raise InputError(f"{self.ext} of {self.num_bytes} bytes, more than the {MAX_EXTRA_BYTES} that can be kept")
        return read_range(self.path, self.offset, self.num_bytes)


class SourceImage(Protocol):
    """One input image: its name, label and size, and a way to read its bytes."""

    @property
    def name(self) -> str:
        """`CLASS/FILE`."""

    @property
    def label(self) -> int:
        """The class index."""

    @property
    def num_bytes(self) -> int:
        """Size of the image in bytes, or, if a listing cannot tell, of the section of the file that holds it."""

    @property
    def container(self) -> str:
        """The path or store URL of the file that is, or holds, the image."""

    @property
    def extras(self) -> tuple[Extra, ...]:
        """Additional members to store with the image, sorted by extension."""

    def read(self) -> bytes:
        """Return the content; raises InputError if it is too large for an image or changed, OSError on disk failure."""

    def labeled(self, label: int, class_id: str | None = None) -> Self:
        """The same image with another class index; `class_id` is put before a name that has no class yet."""

    def keeping(self, extra: Extra) -> Self:
        """The same image with one more extra."""


@runtime_checkable
class AsColumns(Protocol):
    """A sequence of images that are not stored as objects, with queries over all of them."""

    def take(self, places: NDArray[np.int64]) -> Sequence[SourceImage]:
        """The images at these positions, possibly by reference."""

    def labels(self) -> NDArray[np.int64]:
        """(N,): the label of each image."""

    def lines(self) -> Iterator[bytes]:
        """The lines that `lines_of` its images gives, any number at a time."""


def lines_of(images: Iterable[SourceImage]) -> Iterator[bytes]:
    """The content of a fingerprint: every image's label, size, name and extras."""
    for image in images:
        yield f"{image.label} {image.num_bytes} {image.name}\n".encode("utf-8", "surrogateescape")
        for extra in image.extras:
            yield f"{extra.ext} {extra.num_bytes} ".encode("utf-8", "surrogateescape") + extra.content


class FileImage(NamedTuple):
    """An image that is a file, or a range of bytes in one.

    `offset` is 0 unless the image is a member of an archive. A tuple, since there can be more than a million.
    """

    name: str
    label: int
    path: str
    num_bytes: int
    offset: int = 0
    extras: tuple[Extra, ...] = ()

    def read(self) -> bytes:
        """Return the content; see `SourceImage`."""
        require_size(self.num_bytes)
        return read_range(self.path, self.offset, self.num_bytes)

    def labeled(self, label: int, class_id: str | None = None) -> "FileImage":
        """See `SourceImage`."""
        name, _, path, num_bytes, offset, extras = self
        return FileImage(name if class_id is None else f"{class_id}/{name}", label, path, num_bytes, offset, extras)

    def keeping(self, extra: Extra) -> "FileImage":
        """See `SourceImage`."""
        return self._replace(extras=tuple(sorted((*self.extras, extra))))

    @property
    def container(self) -> str:
        """See `SourceImage`."""
        return shown(self.path)


def require_size(num_bytes: int) -> None:
    """Raise InputError for a file that is larger than an image may be."""
    if num_bytes > MAX_INPUT_BYTES:
        raise InputError(f"file of {num_bytes} bytes, more than {MAX_INPUT_BYTES}")


def read_range(path: str, offset: int, num_bytes: int) -> bytes:
    """Read `num_bytes` at `offset` of a file; raises InputError if the file is shorter than when it was listed."""
    with opened(path) as file:
        data = file.read_at(offset, num_bytes)
    if len(data) != num_bytes:
        raise InputError(f"only {len(data)} bytes, expected {num_bytes} as when the source was listed")
    return data


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether a directory entry is a folder; a circular link is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def size_of(entry: "os.DirEntry[str]") -> int:
    """Bytes of a directory entry; 0 if it cannot be examined (a dangling link, say): reading it gives the reason."""
    try:
        return entry.stat().st_size
    except OSError:
        return 0


class Known(NamedTuple):
    """Results over all images of a split that were computed before."""

    fingerprint: str
    counts: tuple[int, ...]
    """Number of images per class index."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSplit:
    """One split: its class table and its images, sorted by label and name."""

    name: str
    """`train`, `val` or `test`."""
    classes: tuple[ClassEntry, ...]
    """The class table; label i is row i."""
    images: Sequence[SourceImage]
    """All images, in this order."""
    class_order: ClassOrder = "text"
    """Where the order of the class table comes from."""
    known: Known | None = None
    """Fingerprint and counts, if they are known already."""
    root: str = ""
    """The folder or URL that contains its files."""

    def fingerprint(self) -> str:
        """SHA-256 over the class ids and every image's name, label, size and extras; other edits are not detected."""
        if self.known is not None:
            return self.known.fingerprint
        digest = hashlib.sha256()
        for entry in self.classes:
            digest.update(f"{entry.index} {entry.id}\n".encode("utf-8", "surrogateescape"))
        for line in self.images.lines() if isinstance(self.images, AsColumns) else lines_of(self.images):
            digest.update(line)
        return digest.hexdigest()

    def take(self, places: NDArray[np.int64]) -> "Sequence[SourceImage]":
        """The images at these positions; those of a mapped listing by reference, so that they are cheap to send."""
        if isinstance(self.images, AsColumns):
            return self.images.take(places)
        return [self.images[place] for place in places.tolist()]

    def images_per_class(self) -> dict[str, int]:
        """Number of images per class id."""
        counts = self.labels_used() if self.known is None else self.known.counts
        return {entry.id: counts[entry.index] for entry in self.classes}

    def labels_used(self) -> Counter[int]:
        """Number of images per label."""
        if not isinstance(self.images, AsColumns):
            return Counter(image.label for image in self.images)
        counts = np.bincount(self.images.labels())
        return Counter({label: count for label, count in enumerate(counts.tolist()) if count})
