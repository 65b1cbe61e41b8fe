"""Finds the folders that are splits, by their names and contents.

Numbered folders form one split together, as `train.X1` to `train.X4` in Kaggle's ImageNet-100.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from ....errors import InputError
from ..split_names import splits_among, splits_within
from .listing import Folder, Listing

_NUMBERED = re.compile(r"(.*?)\d+")


def named_splits(folder: Folder) -> dict[str, str]:
    """The splits among the folders in `folder`, by folder name.

    Names that only contain a split as a word, such as `train_mini`, count if there are then several splits, if each
    has a class folder in common with train, and if no images are beside the class folders.
    """
    named = splits_among(folder.folders)
    within = {name: split for name, split in splits_within(folder.folders).items() if split not in named.values()}
    both = named | within
    classes = {name: set(folder.child(name).folders) for name in both}
    of_train = {one for name, split in both.items() if split == "train" for one in classes[name]}
    are_alike = all(classes[name] & of_train and not folder.child(name).has_images() for name in both)
    return both if len(set(both.values())) > 1 and are_alike else named


@dataclass(kw_only=True, eq=False)
class UnitedFolder(Folder):
    """Several folders as one; `where` is a pattern of their paths."""

    parts: tuple[Folder, ...]

    @cached_property
    def listing(self) -> Listing:
        """The contents of all parts. Raises InputError if two have a file of the same name, like alternative splits."""
        files = sorted((file for part in self.parts for file in part.files), key=lambda file: file.name)
        for one, other in pairwise(files):
            if one.name == other.name:
                raise InputError(
                    f"{one.path} and {other.path}: numbered folders are read as parts of one split, and these two "
                    "files have the same name; remove one of the files, or move the folders of other splits away"
                )
        return Listing(tuple(sorted({name for part in self.parts for name in part.folders})), tuple(files))

    def child(self, name: str) -> Folder:
        """The folder `name` of all parts that have one."""
        if name not in self.children:
            inner = [part.child(name) for part in self.parts if name in part.folders]
            self.children[name] = inner[0] if len(inner) == 1 else _united(inner, self, name)
        return self.children[name]

    def forget(self, name: str) -> None:
        """See `Folder`."""
        super().forget(name)
        for part in self.parts:
            part.forget(name)


def united(folder: Folder, names: Sequence[str]) -> UnitedFolder | None:
    """The folders `names` in `folder` as one; None unless they are numbered alike and hold folders but no images."""
    stems = {found[1] if (found := _NUMBERED.fullmatch(name)) else name for name in names}
    parts = [folder.child(name) for name in names]
    if len(names) < 2 or len(stems) > 1 or not all(part.folders and not part.has_images() for part in parts):
        return None
    return _united(parts, folder, f"{stems.pop()}*")


def _united(parts: Sequence[Folder], parent: Folder, name: str) -> UnitedFolder:
    return UnitedFolder(where=parent.where / name, remarks=parent.remarks, parent=parent, parts=tuple(parts))
