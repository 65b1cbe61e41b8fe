"""The user's options for reading a source whose layout cannot be recognized automatically."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from ...errors import InputError
from .extras import member_name

Layout = Literal[
    "cifar",
    "class-folders",
    "class-tars",
    "flat",
    "idx",
    "ilsvrc",
    "img2dataset",
    "kaggle",
    "list",
    "lmdb",
    "npz",
    "parquet",
    "recordio",
    "stl10",
    "tfrecord",
    "tiny-imagenet",
    "webdataset",
]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
MAX_CLASS_DEPTH = 2048
"""Most folders in a path of 4096 bytes, the longest that Linux allows."""


# The layouts that use an option; all of them use `--unlabeled`, `--keep` and `--val-fraction`.
_READ_BY: dict[str, tuple[Layout, ...]] = {
    "class_depth": ("class-folders", "kaggle"),
    "label_key": ("webdataset", "img2dataset", "list", "parquet", "tfrecord"),
    "label_column": ("list", "parquet", "img2dataset", "tfrecord", "cifar"),
    "image_column": ("list", "parquet", "webdataset", "tfrecord"),
    "image_root": ("list",),
    "label_pattern": ("flat",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceOptions:
    """How to read a source; with the defaults, its layout is recognized automatically."""

    layout: Layout | None = None
    """The layout to read the source as, if more than one fits; None uses the only one that fits."""
    label_key: str | None = None
    """The JSON key, the member extension or the column of a list that holds the label."""
    image_column: str | None = None
    """The column (parquet, lists), feature (TFRecords) or member extension (tars) that holds the image or its path."""
    label_column: str | None = None
    """The column (parquet, lists) or feature (TFRecords) that holds the label; of CIFAR-100, `fine`, the default, or
    `coarse`."""
    label_pattern: str | None = None
    """A regular expression, matched from the start of a flat image's file name, whose one group is the label."""
    image_root: str | None = None
    """The folder or URL where relative paths of a list start; None takes the list's folder, or the folder in it
    that holds the images."""
    class_depth: int | None = None
    """Number of folder names, from the first, that form a class id; None takes the whole path to the images' folder."""
    unlabeled: bool = False
    """Store unlabeled splits too, as one class `unlabeled`; else a test split is left out, any other is an error."""
    val_fraction: float | None = None
    """Fraction of each class, between 0 and 1, that becomes the val split of a source without one."""
    keep: tuple[str, ...] = ()
    """Additional tar members, columns or files to store with each image; `source` stores where the image came from."""

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
                raise InputError(
                    f"--keep: {other!r} and {name!r} would be stored under the same name; keep one of them"
                )
            stored[stem] = name
            if name.lower() == "cls" or not name.strip():
                raise InputError(f"--keep: {name!r} cannot be kept; name additional members or columns: caption,json")

    def refuse_unread(self, where: object, layouts: Collection[Layout]) -> None:
        """Raise InputError for an option that is not used by `layouts`, as which the splits are read."""
        if self.layout is not None and self.layout not in layouts:
            raise InputError(
                f"{where}: --layout {self.layout}, but the source is read as {', '.join(sorted(layouts))}; leave the "
                "option out"
            )
        for name, readers in _READ_BY.items():
            if getattr(self, name) is not None and not set(readers) & set(layouts):
                raise InputError(
                    f"{where}: --{name.replace('_', '-')} is for {', '.join(readers)}, but the source is read as "
                    f"{', '.join(sorted(layouts))}; leave the option out"
                )


def _check_pattern(pattern: str) -> None:
    try:
        num_groups = re.compile(pattern).groups
    except re.error as error:
        raise InputError(f"--label-pattern '{pattern}': not a regular expression ({error})") from None
    if num_groups != 1:
        raise InputError(
            f"--label-pattern '{pattern}': {num_groups} groups; expected one, which is the label, as in '(.+)_[0-9]+'"
        )
