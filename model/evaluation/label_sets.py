"""Labels from a file instead of the shard set: one or several correct classes per image, such as ReaL's.

Formats: a CSV with the columns `key` and `labels` (class ids or numbers separated by spaces; none for an image that is
not scored), one line per image; a JSON object that maps keys to a label or a list of labels; or, for ILSVRC's
validation images, ReaL's plain JSON list, whose i-th entry (from 0) belongs to ILSVRC2012_val_ followed by i + 1 in
eight digits. An image is named by its key in the set or by its original name: for
`00000000_n01440764_ILSVRC2012_val_00000293`, the part from ILSVRC on.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import InputError
from ...prep.build.plan import names_in_key
from .scores import Score

MAX_BYTES = 2**28
BLOCK = 8192


class LabelSets:
    """The correct classes of every image of a set, as rows of a boolean matrix."""

    def __init__(self, allowed_NC: NDArray[np.bool_]) -> None:
        self.allowed_NC = allowed_NC
        self.counts_N: NDArray[np.int64] = allowed_NC.sum(1)

    def contains(self, classes_N: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each image's class is one of its correct ones."""
        return self.allowed_NC[np.arange(len(classes_N)), classes_N]

    def score(self, probabilities_NC: NDArray[np.float32]) -> Score:
        """Errors over the images with a label: wrong if no correct class is among the first k. The loss is NaN.

        Tied classes share credit as in `scores.topk_credit`, for the most likely correct class.
        """
        wrong = {1: 0.0, 5: 0.0}
        chosen = np.flatnonzero(self.counts_N)
        for start in range(0, len(chosen), BLOCK):
            rows = chosen[start : start + BLOCK]
            p_NC, allowed_NC = torch.from_numpy(probabilities_NC[rows]), torch.from_numpy(self.allowed_NC[rows])
            best_N1 = p_NC.masked_fill(~allowed_NC, -1).max(1, keepdim=True).values
            above_N = (~(p_NC <= best_N1)).sum(1)
            tied_NC = p_NC == best_N1
            equal_N = tied_NC.sum(1).clamp(min=1).double()
            right_N = (tied_NC & allowed_NC).sum(1).double()
            for k in wrong:
                # The probability that none of the correct classes is drawn when ties are broken at random.
                missed_N = torch.ones(len(rows), dtype=torch.float64)
                for drawn in range(k):
                    one_N = (equal_N - right_N - drawn).clamp(min=0) / (equal_N - drawn).clamp(min=1)
                    missed_N = torch.where(drawn < k - above_N, missed_N * one_N, missed_N)
                wrong[k] += float(missed_N.sum())
        return Score(num_images=len(chosen), wrong_1=wrong[1], wrong_5=wrong[5], loss_sum=float("nan"))


def read_label_sets(path: Path, keys: Sequence[str], class_ids: Sequence[str]) -> LabelSets:
    """Read a file's labels for the images `keys`; the module docstring describes the formats.

    Raises InputError naming the file for another format, an unknown class, or if it lists none of the images.
    """
    if not path.is_file():
        raise InputError(f"--labels {path}: no such file; name a CSV with the columns key,labels, or a JSON file")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"--labels {path}: larger than {MAX_BYTES} bytes, so it is not taken for a file of labels")
    try:
        entries = _csv_entries(path) if path.suffix == ".csv" else _json_entries(json.loads(path.read_bytes()), path)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, csv.Error) as error:
        raise InputError(
            f"--labels {path}: not {'CSV' if path.suffix == '.csv' else 'JSON'} ({error}); expected a .csv with the "
            "columns key,labels, or JSON such as ReaL's"
        ) from None
    numbers = {id: i for i, id in enumerate(class_ids)}
    allowed_NC = np.zeros((len(keys), len(class_ids)), np.bool_)
    found: dict[str, str] = {}
    for row, key in enumerate(keys):
        name = next((name for name in names_in_key(key, class_ids) if name in entries), None)
        if name is None:
            continue
        if name in found:
            raise InputError(
                f"--labels {path}: {name!r} is ambiguous: it may be {found[name]} or {key}; name images by their keys"
            )
        found[name] = key
        for label in entries[name]:
            allowed_NC[row, _number(label, numbers, path, key)] = True
    if not found:
        raise InputError(
            f"--labels {path}: lists none of the set's images; its first is {next(iter(entries), 'missing')!r}, but "
            f"the set's first is {keys[0]!r}"
        )
    return LabelSets(allowed_NC)


def _csv_entries(path: Path) -> dict[str, list[str]]:
    entries: dict[str, list[str]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="")
        if not {"key", "labels"} <= set(reader.fieldnames or ()):
            found = ", ".join(reader.fieldnames or ()) or "nothing"
            raise InputError(f"--labels {path}: expected the columns key and labels in the first line, found {found}")
        for row in reader:
            if None in row:
                raise InputError(
                    f"--labels {path}: line {reader.line_num} has more fields than the first line; separate the labels "
                    "of an image by spaces"
                )
            if row["labels"] and not row["key"]:
                raise InputError(f"--labels {path}: line {reader.line_num} has labels, but no key")
            if any(row.values()):  # spreadsheets write lines of commas alone
                _enter(entries, row["key"], row["labels"].split(), path)
    return entries


def _json_entries(data: Any, path: Path) -> Mapping[str, list[Any]]:
    if isinstance(data, list):
        data = {f"ILSVRC2012_val_{i + 1:08d}": labels for i, labels in enumerate(data)}
    if not isinstance(data, dict):
        raise InputError(f"--labels {path}: expected a JSON object or list, found {type(data).__name__}")
    entries: dict[str, list[Any]] = {}
    for key, labels in data.items():
        _enter(entries, key, labels if isinstance(labels, list) else [labels], path)
    return entries


def _enter(entries: dict[str, list[Any]], key: str, labels: list[Any], path: Path) -> None:
    """Add an image's labels. Raises InputError if it is listed twice, since one line would replace the other."""
    name = _stem(key)
    if name in entries:
        raise InputError(f"--labels {path}: lists {name!r} twice; give all labels of an image in one place")
    entries[name] = labels


def _stem(key: str) -> str:
    """A key without the extension of an image file."""
    stem, dot, ext = key.rpartition(".")
    return stem if dot and ext.lower() in ("jpeg", "jpg", "png", "webp") else key


def _number(label: Any, numbers: Mapping[str, int], path: Path, key: str) -> int:
    if str(label) in numbers:
        return numbers[str(label)]
    if str(label).isdecimal() and int(label) < len(numbers):
        return int(label)
    raise InputError(f"--labels {path}: {key} has the label {label!r}, which is not a class id or number of this set")
