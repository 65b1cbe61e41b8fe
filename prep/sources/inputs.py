"""What a source gives: splits of images, each image known by name, label and the place of its bytes."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ...errors import InputError
from ..format.manifest import ClassEntry

MAX_INPUT_BYTES = 2**28
MAX_UNNAMED_CLASSES = 100_000  # a larger label is no class index


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
        """Bytes of the image; where a listing cannot tell, of the part of the file that holds it."""

    def read(self) -> bytes:
        """The content; InputError when it is larger than any sane image file or has changed, OSError from the disk."""


class FileImage(NamedTuple):
    """An input that is a file, or bytes within one. (A tuple: there are more than a million.)

    `offset` is not 0 for a member of an archive.
    """

    name: str
    label: int
    path: str
    num_bytes: int
    offset: int = 0

    def read(self) -> bytes:
        """The content, as `SourceImage` says."""
        if self.num_bytes > MAX_INPUT_BYTES:
            raise InputError(f"file of {self.num_bytes} bytes, more than {MAX_INPUT_BYTES}")
        with open(self.path, "rb") as file:  # noqa: PTH123 - a Path costs more than the open
            file.seek(self.offset)
            data = file.read(self.num_bytes)
        if len(data) != self.num_bytes:
            raise InputError(f"{len(data)} bytes, {self.num_bytes} when the source was listed")
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


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSplit:
    """One split: its class table and its images in order."""

    name: str
    classes: tuple[ClassEntry, ...]
    images: Sequence[SourceImage]

    def fingerprint(self) -> str:
        """SHA-256 over class ids and every image's name, label and size; an edit that keeps them all goes unseen."""
        digest = hashlib.sha256()
        for entry in self.classes:
            digest.update(f"{entry.index} {entry.id}\n".encode("utf-8", "surrogateescape"))
        for image in self.images:
            digest.update(f"{image.label} {image.num_bytes} {image.name}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def images_per_class(self) -> dict[str, int]:
        """How many inputs each class id has."""
        counts = Counter(image.label for image in self.images)
        return {entry.id: counts[entry.index] for entry in self.classes}


def numbered_split(name: str, images: list[SourceImage], class_ids: Sequence[str]) -> SourceSplit:
    """A split whose labels are the numbers that the source stores; `class_ids` names them in order."""
    # Stable, so that images of one name stay in the order of their files.
    images.sort(key=lambda image: (image.label, image.name))
    classes = tuple(ClassEntry(index=i, id=class_id, name=class_id) for i, class_id in enumerate(class_ids))
    return SourceSplit(name=name, classes=classes, images=images)


def check_number(label: object, where: str, class_ids: Sequence[str] | None) -> int:
    """A stored label as the class index that it must be; InputError says `where` it is none."""
    num_classes = len(class_ids) if class_ids else MAX_UNNAMED_CLASSES
    if type(label) is not int or not 0 <= label < num_classes:  # True is no label
        found = "no label" if label is None else f"label {label!r}"
        raise InputError(
            f"{where}: {found}; expected a class index, 0 to {num_classes - 1}: correct it, or leave this split away"
        )
    return label
