"""Labels of tables with one column per class, of which each row has 1 in one, as Roboflow and ISIC write them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ....errors import InputError
from ..remarks import Remarks
from .columns import IMAGE_NAMES, LABEL_NAMES, SPLIT_NAMES

_VALUES = {"0": False, "0.0": False, "1": True, "1.0": True}


def with_one_hot_labels(
    path: Path, rows: Iterable[tuple[int, dict[str, str]]], image_column: str | None, remarks: Remarks
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table and, if all but the usual columns are 0 or 1 and one is 1 in the first row, their `label`.

    A table with a column of labels is left as it is. Raises InputError, naming the line, for a later row that has not
    one 1.
    """
    classes: Sequence[str] | None = None
    for number, row in rows:
        if classes is None:
            classes = _classes(row, image_column)
            if classes:
                some = ", ".join(classes[:3]) + (", …" if len(classes) > 3 else "")
                remarks.note(f"{path}: the label of an image is the name of the column that is 1, of {some}")
        if classes:
            hot = [name for name in classes if _VALUES.get(row[name].strip())]
            if len(hot) != 1 or not all(row[name].strip() in _VALUES for name in classes):
                raise InputError(
                    f"{path}, line {number}: {len(hot)} of the columns {classes[0]} to {classes[-1]} are 1; expected "
                    "one, which is the label, and 0 in the others; an image cannot have several labels or none: remove "
                    "the row, or name a column of labels with --label-column"
                )
            row = {**row, "label": hot[0]}
        yield number, row


def _classes(row: dict[str, str], image_column: str | None) -> list[str]:
    """The columns that are classes, by the first row; none if there is a column of labels or another value."""
    usual = {column: column.strip().casefold() for column in row}
    if any(name in LABEL_NAMES for name in usual.values()):
        return []
    others = (*SPLIT_NAMES, "", *(IMAGE_NAMES if image_column is None else ()))
    classes = [column for column, name in usual.items() if name not in others and column != image_column]
    values = [_VALUES.get(row[column].strip()) for column in classes]
    return classes if len(classes) > 1 and None not in values and sum(map(bool, values)) == 1 else []
