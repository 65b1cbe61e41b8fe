"""Finds the folders that are splits, by their names and contents.

Numbered folders of different classes form one split together, as `train.X1` to `train.X4` in Kaggle's ImageNet-100;
numbered folders of the same classes, such as folds, are alternatives, of which the user has to choose one.
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

from ....errors import InputError
from ..labels import class_id_of
from ..lists.image_list import SUFFIXES
from ..litter import is_mask_folder
from ..options import Layout
from ..split_names import (
    are_numbered,
    before_number,
    says_train,
    split_called,
    splits_among,
    splits_like,
    splits_within,
)
from .class_folders import INNER_FOLDER
from .listing import Folder, Listing


def named_splits(folder: Folder, layout: Layout | None = None) -> dict[str, str]:
    """The splits among the folders in `folder`, by folder name.

    Names that only contain a split as a word, such as `train_mini`, count if the folder has a class folder in common
    with train, or train with another split. If no other name means a split, such folders can also be classes: those
    with images beside their class folders are, all are with the layout `class-folders` or if another folder has a class
    folder in common with them, and if other folders hold images, InputError is raised.
    """
    named = splits_among(folder.folders)
    numbered = [
        (name, split)
        for name, split in splits_like(folder.folders).items()
        if name not in named and _classes(folder, name) and _has_like_number(folder, name, split, named)
    ]
    if named:
        return named | dict(numbered) | _alike(folder, named)
    return _uncertain(folder, layout)


def _has_like_number(folder: Folder, name: str, split: str, named: dict[str, str]) -> bool:
    """Whether `name` continues the numbers of a split of class folders, as `train2` beside `train` does."""
    others = [other for other, of_other in named.items() if of_other == split]
    return any(are_numbered((name, other)) and _classes(folder, other) for other in others)


def _alike(folder: Folder, named: dict[str, str]) -> dict[str, str]:
    """The folders whose names contain a split, not one of `named`, and that have classes in common with others.

    A folder of images without classes counts as test, if it is the only one.
    """
    within = {name: split for name, split in splits_within(folder.folders).items() if split not in named.values()}
    if not within:
        return {}
    classes = {name: _classes(folder, name) for name in named | within}
    of_train = _union(classes[name] for name, split in (named | within).items() if split == "train")
    alike = {name: split for name, split in within.items() if split != "train" and classes[name] & of_train}
    of_others = _union(classes[name] for name, split in (named | alike).items() if split != "train")
    trains = [name for name, split in within.items() if split == "train" and classes[name]]
    if any(classes[name] & of_others for name in trains):
        alike |= dict.fromkeys(trains, "train")  # all of them: whether one is a part of train is not for us to guess
    alike = {name: alike[name] for name in within if name in alike and not split_folder(folder, name).holds_no_images()}
    if "train" in (named | alike).values() and "test" not in (named | alike).values():
        flat = [name for name in within if within[name] == "test" and _is_flat(split_folder(folder, name))]
        likely = [name for name in flat if name in splits_like(flat)] or flat
        if len(likely) == 1:
            alike[likely[0]] = "test"
    return alike


def _uncertain(folder: Folder, layout: Layout | None) -> dict[str, str]:
    """The splits of folders of which none is called train, val or test."""
    if layout not in (None, "class-folders") or any(_lists_split(file.name) for file in folder.files):
        return {}
    found = _alike(folder, {})
    if (
        any(_classes(folder, name) and split_folder(folder, name).has_images() for name in found)
        or len(set(found.values())) < 2
    ):
        like = splits_like(folder.folders)
        found = {name: "train" for name, split in like.items() if split == "train" and _classes(folder, name)}
        if not are_numbered(list(found)):
            return {}
    names = _listed(found)
    if layout == "class-folders":
        folder.remarks.note(f"{folder.where}: --layout class-folders reads {names} as classes, not as splits")
        return {}
    of_train = _union(_classes(folder, name) for name, split in found.items() if split == "train")
    rest = [name for name in folder.folders if name not in found and not _is_bare(folder.child(name))]
    if any(_classes(folder, name) & of_train for name in rest):
        return {}  # `cat` beside `train station` and `test tube`
    if rest:
        raise InputError(
            f"{folder.where}: {names} can be splits or, like {rest[0]}, classes; to read them as splits, move "
            f"{_listed(rest)} out of this folder; to read them as classes, pass --layout class-folders"
        )
    for split in set(found.values()):
        of_split = [name for name, one in found.items() if one == split]
        if len(of_split) > 1 and united(folder, of_split) is None:
            raise InputError(
                f"{folder.where}: {_listed(of_split)} can be several {split} splits, parts of one, or classes; to "
                "read one of them, move the others out of this folder; to read them as one split, move their class "
                f"folders into a folder {split}/; to read them as classes, pass --layout class-folders"
            )
    folder.remarks.note(
        f"{folder.where}: {names} are read as splits, not as classes; --layout class-folders reads them as classes"
    )
    return found


def _lists_split(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and split_called(path.stem) is not None


def refuse_lost_train(folder: Folder, used: Sequence[str]) -> None:
    """Raise InputError if a folder beside the splits `used`, of which none is train, seems to be the training split."""
    of_used = _union(_classes(folder, name) for name in used if name in folder.folders)
    of_others = [name for name, split in splits_within(folder.folders).items() if split != "train"]
    for name in folder.folders:
        classes: frozenset[str] = frozenset()
        with contextlib.suppress(OSError):  # a folder that cannot be listed is none of our business
            if name not in used and name not in of_others and not split_folder(folder, name).holds_no_images():
                classes = _classes(folder, name)
        if classes & of_used or (classes and says_train(name)):
            raise InputError(
                f"{folder.where}: {_listed(used)} would be read without a training split, but {name} also holds "
                f"class folders; if it is the training split, rename it to train, else move it out of this folder"
            )


def refuse_lost_classes(folder: Folder, used: Sequence[str]) -> None:
    """Raise InputError if only the files `used`, none of the training split, would be read beside class folders."""
    lost = () if set(used) & set(folder.folders) else [one for one in folder.folders if folder.child(one).has_images()]
    if len(lost) > 1:
        raise InputError(
            f"{folder.where}: {_listed(used)} would be read without a training split, but {_listed(lost[:2])} hold "
            "images; if they are classes, move them into a folder train/, or read only them with --layout "
            "class-folders, else move them out of this folder"
        )


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def split_folder(folder: Folder, name: str) -> Folder:
    """The folder of a split: for `train`, also `train/train/`, as some archives unpack, or `train/Images/CLASS`."""
    child = folder.child(name)
    if child.has_images():
        return child
    if child.folders == (name,):
        return child.child(name)
    inner = [child.child(one) for one in without_masks(child.folders)]
    is_of_classes = (
        len(inner) == 1 and _is_inner(inner[0].where.name) and inner[0].folders and not inner[0].has_images()
    )
    return inner[0] if is_of_classes else child


def without_masks(names: Sequence[str]) -> tuple[str, ...]:
    """The folders without those of masks or annotations, if one is named `images`."""
    return tuple(name for name in names if not is_mask_folder(name) or not any(map(_is_inner, names)))


def _is_inner(name: str) -> bool:
    return name.casefold() == INNER_FOLDER


def inner_images(folder: Folder) -> Folder | None:
    """The only folder in `folder`, if it is named `images`."""
    names = folder.folders
    return folder.child(names[0]) if len(names) == 1 and _is_inner(names[0]) else None


def cached_snapshot(folder: Folder) -> Folder | None:
    """The snapshot in a dataset's folder of Hugging Face's cache, `datasets--OWNER--NAME`; None for other folders."""
    if not {"blobs", "snapshots"} <= {*folder.folders} or folder.child("snapshots").files:
        return None
    snapshots = folder.child("snapshots")
    if len(snapshots.folders) != 1:
        found = ", ".join(str(snapshots.where / name) for name in snapshots.folders) or "none"
        raise InputError(f"{folder.where}: the cache of a dataset; pass one of its snapshots as SOURCE: {found}")
    return snapshots.child(snapshots.folders[0])


def _classes(folder: Folder, name: str) -> frozenset[str]:
    """The names of class folders in the folder `name`; a folder `images` in it is none."""
    names = split_folder(folder, name).folders
    return frozenset(class_id_of(inner) for inner in names if not _is_inner(inner))


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)


def _is_flat(folder: Folder) -> bool:
    """Whether the folder holds images and no class folders."""
    inner = inner_images(folder)
    return folder.has_images() if not folder.folders else inner is not None and inner.has_images()


def _is_bare(folder: Folder) -> bool:
    """Whether the folder is empty or holds nothing but annotations."""
    return not (folder.files or folder.folders) or folder.holds_no_images()


@dataclass(kw_only=True, eq=False)
class UnitedFolder(Folder):
    """Several folders of different class folders as one; `where` is a pattern of their paths."""

    parts: tuple[Folder, ...]

    @cached_property
    def listing(self) -> Listing:
        """The contents of all parts."""
        files = sorted((file for part in self.parts for file in part.files), key=lambda file: file.name)
        return Listing(tuple(sorted(name for part in self.parts for name in part.folders)), tuple(files))

    def child(self, name: str) -> Folder:
        """The folder `name` of the part that has it."""
        return next(part.child(name) for part in self.parts if name in part.folders)

    def forget(self, name: str) -> None:
        """See `Folder`."""
        for part in self.parts:
            part.forget(name)


def united(folder: Folder, names: Sequence[str]) -> UnitedFolder | None:
    """The folders `names` in `folder` as one, without empty ones.

    None unless they are numbered alike and each holds other class folders than the rest.
    """
    parts = [part for part in (split_folder(folder, name) for name in names) if not _is_bare(part)]
    classes = [frozenset(map(class_id_of, part.folders)) for part in parts]
    if not are_numbered(names) or not all(classes) or len(parts) < 2:
        return None
    if any(one & other for one, other in combinations(classes, 2)):
        return None
    where = folder.where / f"{before_number(names[0])}*"
    return UnitedFolder(where=where, remarks=folder.remarks, parent=folder, parts=tuple(parts))
