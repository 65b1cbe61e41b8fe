"""What a person can say about a source where looking at it is not enough."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from ...errors import InputError
from .extras import member_name

Layout = Literal[
    "class-folders",
    "class-tars",
    "flat",
    "ilsvrc",
    "img2dataset",
    "kaggle",
    "list",
    "parquet",
    "tiny-imagenet",
    "webdataset",
]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
MAX_CLASS_DEPTH = 2048
"""Folders in a path of 4096 bytes, which is the longest that Linux takes."""


# The layouts that look at an option; `--unlabeled`, `--keep` and `--val-fraction` are of all.
_READ_BY: dict[str, tuple[Layout, ...]] = {
    "class_depth": ("class-folders", "kaggle"),
    "label_key": ("webdataset", "img2dataset", "list", "parquet"),
    "label_column": ("list", "parquet", "img2dataset"),
    "image_column": ("list", "parquet", "webdataset"),
    "image_root": ("list",),
    "label_pattern": ("flat",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceOptions:
    """How to read a source; the defaults recognize it by looking."""

    layout: Layout | None = None
    """The layout to read it as, where more than one fits; None takes the only one that does."""
    label_key: str | None = None
    """The key of a JSON label, the extension of a label member or the column of a list that holds the label."""
    image_column: str | None = None
    """The column (parquet, lists) or member extension (tars) that holds the image or its path."""
    label_column: str | None = None
    """The column (parquet, lists) that holds the label."""
    label_pattern: str | None = None
    """A regular expression, matched from the start of a flat image's file name, whose one group is the label."""
    image_root: str | None = None
    """The folder or address where relative paths of a list start; None takes the list's folder or the one in it that
    holds the images."""
    class_depth: int | None = None
    """How many folder names make a class id; None takes the whole path of the folder that holds the images."""
    unlabeled: bool = False
    """Store images without labels too, all of one class called `unlabeled`; else such a split is left out, named."""
    val_fraction: float | None = None
    """The part of each class, between 0 and 1, that becomes the val split of a source without one."""
    keep: tuple[str, ...] = ()
    """Further tar members, columns or files that are stored with each image; `source` is where the image came from."""

    def __post_init__(self) -> None:
        if self.layout is not None and self.layout not in LAYOUTS:
            raise InputError(f"layout must be one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        if self.class_depth is not None and not 1 <= self.class_depth <= MAX_CLASS_DEPTH:
            raise InputError(f"class depth must be 1 to {MAX_CLASS_DEPTH}, got {self.class_depth}")
        if self.val_fraction is not None and not 0 < self.val_fraction < 1:
            raise InputError(f"val fraction must be between 0 and 1, got {self.val_fraction}")
        if self.label_pattern is not None:
            _check_pattern(self.label_pattern)
        stored: dict[str, str] = {}
        for name in self.keep:
            if (other := stored.get(stem := member_name(name).casefold())) is not None:
                raise InputError(f"--keep: {other!r} and {name!r} would be stored under one name; keep one of them")
            stored[stem] = name
            if name.lower() == "cls" or not name.strip() or "/" in name:
                raise InputError(f"--keep: {name!r} cannot be kept; name further members or columns, as caption,json")

    def refuse_unread(self, where: object, layouts: Collection[Layout]) -> None:
        """InputError for an option that says nothing of a source whose splits are read as `layouts`."""
        for name, readers in _READ_BY.items():
            if getattr(self, name) is not None and not set(readers) & set(layouts):
                raise InputError(
                    f"{where}: --{name.replace('_', '-')} is for {', '.join(readers)}; this is read as "
                    f"{', '.join(sorted(layouts))}: leave the option out"
                )


def _check_pattern(pattern: str) -> None:
    try:
        num_groups = re.compile(pattern).groups
    except re.error as error:
        raise InputError(f"--label-pattern '{pattern}': no regular expression ({error})") from None
    if num_groups != 1:
        raise InputError(
            f"--label-pattern '{pattern}': {num_groups} groups; expected one, which is the label, as in '(.+)_[0-9]+'"
        )
