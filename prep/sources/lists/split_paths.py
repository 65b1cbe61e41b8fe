"""Splits of a list without a column of splits, by the folders in its paths: `train/cat/1.jpg` and `val/cat/2.jpg`."""

import os
from collections.abc import Sequence

from ..split_names import says_split, splits_among


def splits_in_paths(paths: Sequence[str]) -> list[str]:
    """The split of every path, by the first folder that differs between them.

    Empty unless all these folders are named like splits, and there are several splits including train.
    """
    # What all paths begin with, the first and the last in the order of text do too.
    start = os.path.commonprefix([min(paths), max(paths)])  # noqa: RUF071 - up to the last slash in it
    num_before = start.rfind("/") + 1
    names: set[str] = set()
    for path in paths:
        name, slash, _ = path[num_before:].partition("/")
        if name not in names:
            if not slash or not says_split(name):
                return []  # nearly always that of the first path
            names.add(name)
    called = splits_among(sorted(names))
    if names != called.keys() or "train" not in called.values() or len({*called.values()}) < 2:
        return []
    return [called[path[num_before:].partition("/")[0]] for path in paths]
