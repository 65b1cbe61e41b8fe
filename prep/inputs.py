"""What a source gives: splits of images, each image known by name, label and the place of its bytes."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .manifest import ClassEntry

MAX_INPUT_BYTES = 2**28


class SourceImage(NamedTuple):
    """One input: `CLASS/FILE`, its label, and where its bytes lie. (A tuple: there are more than a million.)

    `offset` is not 0 for a member of an archive.
    """

    name: str
    label: int
    path: str
    num_bytes: int
    offset: int = 0

    def read(self) -> bytes:
        """The content; ValueError when it is larger than any sane image file or has changed, OSError from the disk."""
        if self.num_bytes > MAX_INPUT_BYTES:
            raise ValueError(f"file of {self.num_bytes} bytes, more than {MAX_INPUT_BYTES}")
        with open(self.path, "rb") as file:  # noqa: PTH123 - a Path costs more than the open
            file.seek(self.offset)
            data = file.read(self.num_bytes)
        if len(data) != self.num_bytes:
            raise ValueError(f"{len(data)} bytes, {self.num_bytes} when the source was listed")
        return data


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
