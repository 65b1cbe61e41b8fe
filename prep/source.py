"""Where images come from: folders, archives or a list, recognised by looking, never changed, never unpacked.

A source has one or two splits; a split has a class table in the order of the sorted class ids and a list of images
sorted by (class, file name), so that the same images give the same list however they were laid out or listed.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .ilsvrc import (
    COUNTS_2012,
    DEVKIT_PATTERNS,
    TRAIN_PATTERN,
    VAL_PATTERN,
    Devkit,
    named,
    read_class_tars,
    read_devkit,
    read_nested_tar,
    read_validation,
)
from .image_list import SUFFIXES, read_image_list
from .inputs import SourceImage, SourceSplit
from .kaggle import KaggleLayout, find_layouts, read_validation_images, with_mapping
from .manifest import ClassEntry

VAL_NAMES = ("val", "validation", "test")  # the first that is there is the validation split


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What was recognised, in words, the splits, and what a person should know of them."""

    description: str
    splits: tuple[SourceSplit, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """One thing that could be a split, and how to read it."""

    path: Path
    kind: str
    read: Callable[[], SourceSplit]


def open_source(folder: Path) -> Source:
    """Recognise `folder`, or the list of images that it is, and give its images.

    Raises ValueError, saying what was found, what was expected and what to do: no such folder, no images, a class
    without images, a class folder that holds folders, two things that could be one split, archives that are damaged or
    lack their devkit, train and validation with different classes, labels that do not fit the images, a line of a list
    that is wrong.
    """
    if folder.is_file():
        return _open_list(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; name the folder that holds train/ and val/")
    devkit_path = next((path for pattern in DEVKIT_PATTERNS for path in sorted(folder.glob(pattern))), None)
    devkit = None if devkit_path is None else read_devkit(devkit_path)
    chosen = [
        candidate
        for candidate in (
            _the_one(folder, "training", _train_candidates(folder)),
            _the_one(folder, "validation", _val_candidates(folder, devkit)),
        )
        if candidate is not None
    ]
    if not chosen:
        chosen = [_folder_candidate(folder, "train")]
    splits = tuple(named(candidate.read(), devkit.names if devkit else {}) for candidate in chosen)
    if len(splits) == 2:
        _refuse_different_classes(folder, *splits)
    description = "; ".join(f"{candidate.kind} in {candidate.path}" for candidate in chosen)
    return Source(description=description, splits=splits, notes=_notes(chosen, splits))


def _open_list(path: Path) -> Source:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: a file, but no list of images; expected a folder, a .csv or a .jsonl file")
    splits = read_image_list(path)
    if len(splits) == 2:
        _refuse_different_classes(path, *splits)
    ids = [entry.id for entry in splits[0].classes]
    notes = []
    if all(one.isdecimal() for one in ids) and ids != sorted(ids, key=int):
        notes.append(
            f"{path.name}: labels are sorted as text, so {ids[1]!r} is class 1; pad them with zeros to avoid it"
        )
    return Source(description=f"a list of images in {path}", splits=splits, notes=tuple(notes))


def _the_one(folder: Path, what: str, candidates: list[_Candidate]) -> _Candidate | None:
    if len(candidates) > 1:
        names = " and ".join(f"{candidate.path.relative_to(folder)} ({candidate.kind})" for candidate in candidates)
        raise ValueError(f"{folder}: more than one {what} split: {names}; move one of them away")
    return candidates[0] if candidates else None


def _train_candidates(folder: Path) -> list[_Candidate]:
    candidates = [
        _Candidate(path=path, kind="the training archive of ILSVRC", read=partial(read_nested_tar, path))
        for path in sorted(folder.glob(TRAIN_PATTERN))
    ]
    train = folder / "train"
    if train.is_dir():
        candidates.append(_folder_candidate(train, "train"))
    for layout in find_layouts(folder):
        if (layout.data / "train").is_dir():
            candidates.append(
                _Candidate(
                    path=layout.data / "train",
                    kind="the training images of Kaggle's ILSVRC",
                    read=partial(_read_kaggle_train, layout),
                )
            )
    return candidates


def _val_candidates(folder: Path, devkit: Devkit | None) -> list[_Candidate]:
    candidates = []
    for path in sorted(folder.glob(VAL_PATTERN)):
        if devkit is None:
            raise ValueError(
                f"{path}: its labels are in the devkit; put ILSVRC2012_devkit_t12.tar.gz beside it, or move it away"
            )
        candidates.append(
            _Candidate(
                path=path,
                kind="the validation archive of ILSVRC",
                read=partial(read_validation, path, devkit),
            )
        )
    val = next((folder / name for name in VAL_NAMES if (folder / name).is_dir()), None)
    if val is not None and devkit is not None and not _has_folders(val):
        candidates.append(
            _Candidate(path=val, kind="flat validation images", read=partial(read_validation, val, devkit))
        )
    elif val is not None:
        candidates.append(_Candidate(path=val, kind="class folders", read=partial(_read_class_folders, val, "val")))
    for layout in find_layouts(folder):
        if (layout.data / "val").is_dir():
            candidates.append(
                _Candidate(
                    path=layout.data / "val",
                    kind="the validation images of Kaggle's ILSVRC",
                    read=partial(read_validation_images, layout),
                )
            )
    return candidates


def _read_kaggle_train(layout: KaggleLayout) -> SourceSplit:
    return with_mapping(_read_class_folders(layout.data / "train", "train"), layout)


def _folder_candidate(folder: Path, split: str) -> _Candidate:
    if not _has_folders(folder) and any(folder.glob("*.tar")):
        return _Candidate(path=folder, kind="class tars", read=partial(read_class_tars, folder))
    return _Candidate(path=folder, kind="class folders", read=partial(_read_class_folders, folder, split))


def _has_folders(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_dir() and not entry.name.startswith(".") for entry in entries)


def _notes(chosen: list[_Candidate], splits: tuple[SourceSplit, ...]) -> tuple[str, ...]:
    notes = []
    for candidate, split in zip(chosen, splits, strict=True):
        expected = COUNTS_2012[split.name]
        if candidate.path.name.startswith("ILSVRC2012") and (len(split.images), len(split.classes)) != (expected, 1000):
            notes.append(
                f"{candidate.path.name}: {len(split.images)} images of {len(split.classes)} classes; "
                f"ILSVRC 2012 has {expected} of 1000"
            )
    return tuple(notes)


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
        "give both the same classes"
    )
