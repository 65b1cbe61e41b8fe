"""Splits of a list without a column of splits, by the folders in its paths: `train/cat/1.jpg` and `val/cat/2.jpg`."""

import os
from collections.abc import Sequence

from ..split_names import splits_among


def splits_in_paths(paths: Sequence[str]) -> list[str]:
    """The split of every path, by the first folder that differs between them.

    Empty unless all these folders are named like splits, and there are several splits including train.
    """
    # What all paths begin with, the first and the last in the order of text do too.
    start = os.path.commonprefix([min(paths), max(paths)])  # noqa: RUF071 - up to the last slash in it
    num_before = start.rfind("/") + 1
    names = {path[num_before:].partition("/")[:2] for path in paths}
    called = splits_among(sorted(name for name, _ in names))
    splits = {*called.values()}
    if any(not slash or name not in called for name, slash in names) or "train" not in splits or len(splits) < 2:
        return []
    return [called[path[num_before:].partition("/")[0]] for path in paths]
