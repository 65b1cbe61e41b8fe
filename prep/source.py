"""Where images come from: a tree on disk, recognised by looking, never changed.

A source has one or two splits; a split has a class table in the order of the sorted class ids and a list of images
sorted by (class, file name), so that the same images give the same list however they were laid out or listed.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .manifest import ClassEntry

VAL_NAMES = ("val", "validation", "test")  # the first that is there is the validation split
MAX_INPUT_BYTES = 2**28


class SourceImage(NamedTuple):
    """One input: `CLASS/FILE`, its label, and where its bytes lie. (A tuple: there are more than a million.)"""

    name: str
    label: int
    path: str
    num_bytes: int

    def read(self) -> bytes:
        """The file's content; ValueError when it is larger than any sane image file, OSError from the disk."""
        if self.num_bytes > MAX_INPUT_BYTES:
            raise ValueError(f"file of {self.num_bytes} bytes, more than {MAX_INPUT_BYTES}")
        with open(self.path, "rb") as file:  # noqa: PTH123 - a Path costs more than the open
            return file.read()


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSplit:
    """One split: its class table and its images in order."""

    name: str
    classes: tuple[ClassEntry, ...]
    images: Sequence[SourceImage]

    def fingerprint(self) -> str:
        """SHA-256 over class ids and every image's name, label and size: equal when nothing was changed."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What was recognised, in words, and the splits."""

    description: str
    splits: tuple[SourceSplit, ...]


def open_source(folder: Path) -> Source:
    """Recognise `folder` and list its images.

    Raises ValueError, saying what was found, what was expected and what to do: no such folder, no images, a class
    without images, a class folder that holds folders, train and validation with different classes.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; name the folder that holds train/ and val/")
    split_folders = _split_folders(folder)
    if split_folders:
        splits = tuple(_read_class_folders(path, split) for split, path in split_folders.items())
        description = f"class folders in {', '.join(str(path) for path in split_folders.values())}"
    else:
        splits = (_read_class_folders(folder, "train"),)
        description = f"class folders in {folder}, one split"
    if len(splits) == 2:
        _refuse_different_classes(folder, *splits)
    return Source(description=description, splits=splits)


def _split_folders(folder: Path) -> dict[str, Path]:
    found = {}
    if (folder / "train").is_dir():
        found["train"] = folder / "train"
    val_name = next((name for name in VAL_NAMES if (folder / name).is_dir()), None)
    if val_name is not None:
        found["val"] = folder / val_name
    return found


def _read_class_folders(folder: Path, split: str) -> SourceSplit:
    with os.scandir(folder) as entries:
        ids = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    if not ids:
        raise ValueError(f"{folder}: holds no class folders; expected one folder of images per class")
    images: list[SourceImage] = []
    for label, class_id in enumerate(ids):
        found = _read_one_class(folder / class_id, class_id, label)
        if not found:
            raise ValueError(f"{folder / class_id}: class without images; put images there or remove the folder")
        images.extend(found)
    classes = tuple(ClassEntry(index=i, id=class_id, name=class_id) for i, class_id in enumerate(ids))
    return SourceSplit(name=split, classes=classes, images=images)


def _read_one_class(folder: Path, class_id: str, label: int) -> list[SourceImage]:
    images = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                raise ValueError(
                    f"{entry.path}: a folder inside a class folder; expected SOURCE/train/CLASS/IMAGE or "
                    "SOURCE/CLASS/IMAGE: name the folder above the class folders"
                )
            images.append(SourceImage(f"{class_id}/{entry.name}", label, entry.path, entry.stat().st_size))
    images.sort()
    return images


def _refuse_different_classes(folder: Path, train: SourceSplit, val: SourceSplit) -> None:
    train_ids, val_ids = ({entry.id for entry in split.classes} for split in (train, val))
    if train_ids == val_ids:
        return
    differences = [
        f"{len(only)} only in {name}: {', '.join(sorted(only)[:3])}{', …' if len(only) > 3 else ''}"
        for name, only in (("train", train_ids - val_ids), ("val", val_ids - train_ids))
        if only
    ]
    raise ValueError(
        f"{folder}: train and val have different classes ({'; '.join(differences)}); a label would mean two things: "
        "make the class folders the same"
    )
