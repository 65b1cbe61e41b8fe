"""A list of images as a source: a `.csv` or `.jsonl` file of paths and labels, read in place.

Columns or keys: `path`, `label`, and optionally `split`, `train` or `val` (without it all are train); others are
ignored. A relative path starts at the list's folder and must stay in it; an absolute path may lie anywhere. Links are
followed, as in class folders. Labels are class ids: strings, sorted as text.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from ...errors import InputError
from ..format.manifest import ClassEntry
from ..format.shard_set import SPLITS
from .inputs import FileImage, SourceSplit
from .text_table import csv_rows, text_lines

SUFFIXES = (".csv", ".jsonl")


class _Listed(NamedTuple):
    """One checked row: the path as written and as opened."""

    label: str
    written: str
    path: str
    num_bytes: int


def read_image_list(path: Path) -> tuple[SourceSplit, ...]:
    """The splits of a list, train first.

    Raises InputError, naming file and line: no such image, a relative path that leaves the folder, an image twice, a
    field that is missing or empty, another split, a line that cannot be read. A list without images is refused too.
    """
    by_split: dict[str, list[_Listed]] = {}
    lines: dict[str, int] = {}
    for number, row in _rows(path):
        where = f"{path}, line {number}"
        label, written, split = (_field(where, row, key) for key in ("label", "path", "split"))
        if split not in SPLITS:
            raise InputError(f"{where}: split is {split!r}; expected {' or '.join(SPLITS)}")
        if not Path(written).is_absolute() and os.pardir in Path(os.path.normpath(written)).parts:
            raise InputError(f"{where}: {written} leads out of {path.parent}; write an absolute path if that is meant")
        opened = os.path.normpath(path.parent / written)
        if opened in lines:
            raise InputError(f"{where}: {written} again, first in line {lines[opened]}; list every image once")
        lines[opened] = number
        by_split.setdefault(split, []).append(_Listed(label, written, opened, _size(where, opened)))
    if not by_split:
        raise InputError(f"{path}: lists no images; expected one path and label per line")
    return tuple(_split_of(name, by_split[name]) for name in SPLITS if name in by_split)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    if path.suffix == ".csv":
        for number, fields in csv_rows(path, ("path", "label")):
            yield number, {**fields}
        return
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f'{path}, line {number}: not an object; expected {{"path": …, "label": …}}')
        yield number, row


def _field(where: str, row: dict[str, object], key: str) -> str:
    value = row.get(key, "train" if key == "split" else None)
    if not isinstance(value, str) or not value:
        found = f"is {value!r}" if key in row else "is missing"
        raise InputError(f"{where}: {key} {found}; expected text that is not empty")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, as JSON can say it: "\\ud800"
        raise InputError(f"{where}: {key} {value!r} is not Unicode; correct it") from None
    return value


def _size(where: str, path: str) -> int:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path costs more than the call
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{where}: {path}: {reason}; correct the path or remove the line") from None
    if not S_ISREG(status.st_mode):
        raise InputError(f"{where}: {path}: not a file; list images, not folders")
    return status.st_size


def _split_of(name: str, rows: list[_Listed]) -> SourceSplit:
    ids = sorted({row.label for row in rows})
    labels = {class_id: i for i, class_id in enumerate(ids)}
    # CLASS/FILE as in class folders, so that the same images give the same shards; the whole path where that is not
    # enough to tell two images apart.
    named = Counter((row.label, Path(row.written).name) for row in rows)
    images = [
        FileImage(
            f"{row.label}/{file_name if named[row.label, file_name] == 1 else row.written}",
            labels[row.label],
            row.path,
            row.num_bytes,
        )
        for row in rows
        for file_name in (Path(row.written).name,)
    ]
    images.sort(key=lambda image: (image.label, image))
    classes = tuple(ClassEntry(index=i, id=class_id, name=class_id) for i, class_id in enumerate(ids))
    return SourceSplit(name=name, classes=classes, images=images)
