"""A list of images as a source: CSV, TSV or JSONL with columns, or text with lines `PATH LABEL`.

Columns or keys: a path, a label and optionally a split, under their usual names. Without a split, all images belong to
the split that the file is named after, else to train. A relative path starts at the list's folder and must stay in it;
an absolute path may lead anywhere, and so may a URL such as s3://bucket/1.jpg. Links are followed, as in class
folders. Labels are whole numbers, which are class indices, or names.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....errors import InputError
from ...format.manifest import UNLABELED
from ...storage import StoreUrl, parse_location
from ..extras import column_extras
from ..folders.store_folder import StoreImage
from ..inputs import Extra, FileImage, SourceImage, SourceSplit
from ..labels import LabeledImages, RawLabel, Unlabeled, raw_label
from ..litter import is_image_name
from ..options import SourceOptions
from ..remarks import Remarks
from ..split_names import EXPECTED, SPLIT_WORDS, split_called, splits_within
from .columns import IMAGE_NAMES, LABEL_NAMES, SPLIT_NAMES, find_column
from .image_root import image_root
from .look_up import look_up
from .one_hot import with_one_hot_labels
from .split_paths import splits_in_paths
from .text_table import csv_rows, path_and_label, text_lines

SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt")


class _Listed(NamedTuple):
    """One checked row, with the path as written and as opened."""

    line: int
    label: RawLabel | None
    written: str
    path: str | StoreUrl
    extras: tuple[Extra, ...]


def read_image_list(
    path: Path, options: SourceOptions, remarks: Remarks, *, base: StoreUrl | None = None
) -> tuple[SourceSplit, ...]:
    """The splits of a list, train first; for a local copy of a list in a store, relative paths start at `base`.

    `image_root` decides where relative paths start. Without a column of splits or a split in the list's name, folders
    such as `train` and `val` in the paths are splits. A missing image is noted in `remarks`, and quarantined when it is
    read, as in other layouts.

    Raises InputError, naming file and line, if no image is found, if a path is a folder, leaves the folder where it
    starts or is listed twice, if a field is missing or empty, for an unknown split and for a line that cannot be
    parsed; also for a list without images. Raises Unlabeled if no row of a split has a label, or every label is -1,
    unless `options.unlabeled`; such a test split beside others is skipped and noted in `remarks`.
    """
    by_split: dict[str, list[_Listed]] = {}
    lines: dict[str | StoreUrl, int] = {}
    suffix, is_whole = path.suffix.lower(), split_called(path.stem) is None
    whole = split_called(path.stem) or splits_within([path.stem]).get(path.stem, "train")
    root = image_root(path, lambda: _relative_paths(path, options, remarks), options.image_root, base, remarks)
    for number, row in _rows(path, options, remarks):
        where = f"{path}, line {number}"
        label, written, split = _label(where, row), _text(where, row, "path"), whole
        if row.get("split") is not None:
            called = _text(where, row, "split")
            if (found := split_called(called)) is None:
                raise InputError(f"{where}: split is {called!r}; expected {EXPECTED}")
            split, is_whole = found, False
        url = _url(where, written)
        if url is not None:
            written = str(url)  # without a password or query
        elif not written.startswith("/") or (options.image_root is not None and not os.path.exists(written)):  # noqa: PTH110
            try:
                if suffix == ".txt":
                    root.refuse_cut(written)
                written = root.complete(written.lstrip("/"))
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
            if isinstance(root.start, StoreUrl):
                url = root.start / os.path.normpath(written)
        opened = url or _local(path.parent if isinstance(root.start, StoreUrl) else root.start, written)
        if opened in lines:
            raise InputError(
                f"{where}: {written} is listed again, first in line {lines[opened]}; list every image once"
            )
        lines[opened] = number
        extras = tuple(sorted(column_extras(options.keep, row))) if options.keep else ()
        listed = _Listed(number, label, written, opened, extras)
        by_split.setdefault(split, []).append(listed)
    root.names.forget()
    if not by_split:
        raise InputError(f"{path}: lists no images; expected one path and label per line")
    if is_whole:
        by_split = _divided(path, by_split, remarks)
    splits, is_alone = [], len(by_split) == 1
    for name in (name for name in SPLIT_WORDS if name in by_split):
        try:
            splits.append(_split_of(path, name, by_split.pop(name), lines, options, remarks))
        except Unlabeled as error:
            if name != "test" or is_alone:
                raise
            remarks.note(f"left out: {error}")
    return tuple(splits)


def _divided(path: Path, by_split: dict[str, list[_Listed]], remarks: Remarks) -> dict[str, list[_Listed]]:
    """The rows of a list that names no splits, by the splits in their paths, if these are several."""
    ((name, rows),) = by_split.items()
    splits = splits_in_paths([row.written for row in rows])
    if not splits:
        if name != "train":
            remarks.note(f"{path}: read as {name}, since its name says so; to change that, add a column split")
        return by_split
    remarks.note(
        f"{path}: divided into splits by the folders in its paths; to read it as one split, add a column split with "
        "train in every row"
    )
    divided: dict[str, list[_Listed]] = {}
    for row, split in zip(rows, splits, strict=True):
        divided.setdefault(split, []).append(row)
    return divided


def _relative_paths(path: Path, options: SourceOptions, remarks: Remarks) -> Iterator[str]:
    written = (_text_of(row.get("path")) for _, row in _rows(path, options, remarks))
    return (one for one in written if isinstance(one, str) and one and not one.startswith("/") and "://" not in one)


def _rows(path: Path, options: SourceOptions, remarks: Remarks) -> Iterator[tuple[int, dict[str, object]]]:
    """Line and fields of every row; path, label and split under these names."""
    suffix = path.suffix.lower()
    if suffix == ".txt":
        for number, line in text_lines(path):
            if line.strip():
                if "\t" not in line and is_image_name(line.strip()):
                    yield number, {"path": line.strip()}
                    continue
                written, label = path_and_label(f"{path}, line {number}", line)
                yield number, {"path": written, "label": label}
        return
    rows = _json_rows(path) if suffix == ".jsonl" else _table_rows(path, options, remarks)
    names: dict[tuple[str, ...], dict[str, str]] = {}
    is_empty = True
    for number, row in rows:
        is_empty = False
        columns = tuple(row)
        if columns not in names:
            names[columns] = _names(path, number if suffix == ".jsonl" else 1, columns, options)
        yield number, {**row, **{name: row[column] for name, column in names[columns].items()}}
    if is_empty and suffix != ".jsonl":
        header = next((line for _, line in text_lines(path)), "")
        _names(path, 1, tuple(name.strip() for name in header.replace("\t", ",").split(",")), options)


def _names(path: Path, line: int, columns: tuple[str, ...], options: SourceOptions) -> dict[str, str]:
    """The columns that are the path, the label and the split."""
    where = f"{path}, line {line}"
    label = options.label_column or options.label_key
    found = {
        "path": find_column(columns, IMAGE_NAMES, options.image_column, "--image-column", where),
        "label": find_column(columns, LABEL_NAMES, label, "--label-column", where, Unlabeled),
        "split": find_column(columns, SPLIT_NAMES, None, "renaming the others", where),
    }
    if path.suffix.lower() != ".jsonl" and (
        found["path"] is None or (found["label"] is None and not options.unlabeled)
    ):
        raise (InputError if found["path"] is None else Unlabeled)(
            f"{where}: the header is {','.join(columns)!r}; expected the columns path, label, each once; or name them "
            "with --image-column and --label-column"
            + ("" if found["path"] is None else ", or pass --unlabeled to store the images without labels")
        )
    return {name: column for name, column in found.items() if column is not None}


def _table_rows(path: Path, options: SourceOptions, remarks: Remarks) -> Iterator[tuple[int, dict[str, object]]]:
    rows = csv_rows(path)
    if options.label_column is None and options.label_key is None:
        rows = with_one_hot_labels(path, rows, options.image_column, remarks)
    return ((number, {**row}) for number, row in rows)


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f'{path}, line {number}: not JSON ({error}); expected {{"path": …, "label": …}} on every line'
            ) from None
        if not isinstance(row, dict):
            raise InputError(f'{path}, line {number}: not an object; expected {{"path": …, "label": …}}')
        yield number, row


def _label(where: str, row: dict[str, object]) -> RawLabel | None:
    """The label of a row; None if it has none, which is allowed if no row of its split has one."""
    value = row.get("label")
    label = raw_label(value)
    if label is None:
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        raise InputError(f"{where}: label is {value!r}; expected nonempty text or a whole number")
    if isinstance(label, str):
        _refuse_half_characters(where, "label", label)
        return sys.intern(label)  # one string for all rows of a class
    return label


def _text(where: str, row: dict[str, object], key: str) -> str:
    value = _text_of(row.get(key))
    if not isinstance(value, str) or not value:
        found = f"is {value!r}" if key in row else "is missing"
        raise InputError(f"{where}: {key} {found}; expected nonempty text")
    _refuse_half_characters(where, key, value)
    return value


def _text_of(value: object) -> object:
    """A number of a JSON file, such as the id of an image, as text; any other value as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _refuse_half_characters(where: str, key: str, value: str) -> None:
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can express: "\\ud800"
        raise InputError(f"{where}: {key} {value!r} is not valid Unicode; correct it") from None


def _url(where: str, written: str) -> StoreUrl | None:
    """The URL in a row; None if it is a path."""
    try:
        location = parse_location(written)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return location if isinstance(location, StoreUrl) else None


def _local(folder: Path, written: str) -> str:
    """The path to open. If the list's folder was given as a relative path, an absolute path below it becomes relative
    too, so that both spellings in a list give the same path.
    """
    opened = os.path.normpath(folder / written)
    if not folder.is_absolute() and opened.startswith("/"):
        base = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118 - once for every row
        if opened.startswith(base):
            return os.path.normpath(folder / opened[len(base) :])
    return opened


def _is_unlabeled(path: Path, name: str, listed: list[_Listed], options: SourceOptions) -> bool:
    """Whether no row of a split has a label; raises InputError if only some do, Unlabeled if that is not allowed."""
    if any(row.label not in (None, -1) for row in listed):
        if (bare := next((row for row in listed if row.label is None), None)) is not None:
            raise InputError(
                f"{path}, line {bare.line}: label is missing; expected nonempty text or a whole number in every "
                f"row of {name}, or in none"
            )
        return False
    if not options.unlabeled:
        raise Unlabeled(
            f"{path}: no row of {name} has a label (the first is line {listed[0].line}); add labels, or pass "
            "--unlabeled to store the images without"
        )
    return True


def _alike(listed: list[_Listed]) -> set[int]:
    """The positions of rows that share their label and file name with another row."""
    names = (hash((row.label, Path(row.written).name)) for row in listed)
    hashes_N = np.fromiter(names, np.int64, len(listed))  # eight bytes per row instead of a name
    hashes, counts = np.unique(hashes_N, return_counts=True)
    candidates = np.flatnonzero(np.isin(hashes_N, hashes[counts > 1])).tolist()
    keys = {i: (listed[i].label, Path(listed[i].written).name) for i in candidates}
    times = Counter(keys.values())
    return {i for i, key in keys.items() if times[key] > 1}


def _split_of(
    path: Path,
    name: str,
    listed: list[_Listed],
    lines: dict[str | StoreUrl, int],
    options: SourceOptions,
    remarks: Remarks,
) -> SourceSplit:
    if _is_unlabeled(path, name, listed, options):
        listed[:] = (row._replace(label=UNLABELED) for row in listed)
    # CLASS/FILE as in class folders, so that the same images give the same shards; the whole path if two images would
    # have the same name.
    alike = _alike(listed)
    advice = "correct the path or remove the line"
    if options.image_root is None and any("://" not in row.written for row in listed):
        advice = "correct the paths, or pass the folder where they start with --image-root"
    sizes, e_tags = look_up(path, [(row.line, row.path) for row in listed], advice, remarks)
    rows = LabeledImages()
    for i, (row, num_bytes) in enumerate(zip(listed, sizes, strict=True)):
        image_name = row.written if i in alike else Path(row.written).name
        if isinstance(row.path, str):
            rows.add(row.label, FileImage(image_name, 0, row.path, num_bytes, 0, row.extras))
        else:
            rows.add(row.label, StoreImage(image_name, 0, row.path, num_bytes, e_tags.get(row.path), row.extras))
    listed.clear()  # the columns hold everything; sorting needs the memory

    def where(image: SourceImage) -> str:
        assert isinstance(image, FileImage | StoreImage)
        return f"{path}, line {lines[image.path if isinstance(image, FileImage) else image.url]}"

    return rows.split(name, where)
