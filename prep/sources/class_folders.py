"""Class folders: one folder of images per class, named by the class id."""

import os
from pathlib import Path

from ...errors import InputError
from ..format.manifest import ClassEntry
from .inputs import FileImage, SourceSplit, is_folder, size_of


def has_class_folders(folder: Path) -> bool:
    """Whether `folder` holds any folder that is not hidden."""
    with os.scandir(folder) as entries:
        return any(is_folder(entry) and not entry.name.startswith(".") for entry in entries)


def read_class_folders(folder: Path, split: str) -> SourceSplit:
    """The split whose classes are the folders in `folder`; InputError names a folder that is none or has no images."""
    with os.scandir(folder) as entries:
        ids = sorted(entry.name for entry in entries if not entry.name.startswith(".") and is_folder(entry))
    if not ids:
        raise InputError(f"{folder}: holds no class folders; expected one folder of images per class")
    images: list[FileImage] = []
    for label, class_id in enumerate(ids):
        found = _read_one_class(folder / class_id, class_id, label)
        if not found:
            raise InputError(f"{folder / class_id}: class without images; put images there or remove the folder")
        images.extend(found)
    classes = tuple(ClassEntry(index=i, id=class_id, name=class_id) for i, class_id in enumerate(ids))
    return SourceSplit(name=split, classes=classes, images=images)


def _read_one_class(folder: Path, class_id: str, label: int) -> list[FileImage]:
    images = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if is_folder(entry):
                raise InputError(
                    f"{entry.path}: a folder inside a class folder; expected SOURCE/train/CLASS/IMAGE or "
                    "SOURCE/CLASS/IMAGE: name the folder above the class folders"
                )
            images.append(FileImage(f"{class_id}/{entry.name}", label, entry.path, size_of(entry)))
    images.sort()
    return images
