"""Finds the image, label and split column or key of a list or table by their usual names, ignoring case."""

from collections.abc import Sequence

from ....errors import InputError

IMAGE_NAMES = (
    *("path", "file_name", "filename", "file", "image", "image_path", "img", "img_path", "filepath", "file_path"),
)
LABEL_NAMES = (
    *("label", "class", "class_id", "class_name", "class_index", "class_idx", "label_id", "label_name", "target"),
    *("category", "category_id", "fine_label", "wnid", "labels"),
)
SPLIT_NAMES = ("split", "subset", "partition", "set")


def find_column(
    columns: Sequence[str],
    usual: Sequence[str],
    wanted: str | None,
    option: str,
    where: str,
    missing: type[InputError] = InputError,
) -> str | None:
    """The column `wanted` or, without that, the one that has a usual name; None if there is none.

    Args:
        columns: The names of all columns.
        usual: Names that the column may have; the first takes precedence over the others.
        wanted: The name that the user gave, if any.
        option: The command-line option for that name.
        where: File and line, for errors.
        missing: What is raised if `wanted` does not exist; Unlabeled for labels, which the test splits of sources lack.

    Raises InputError if several columns have a usual name.
    """
    if wanted is not None:
        if wanted not in columns:
            raise missing(f"{where}: no column {wanted!r} ({option}); found {', '.join(columns) or 'none'}")
        return wanted
    found = [column for column in columns if column.strip().casefold() in usual]
    best = [column for column in found if column.strip().casefold() == usual[0]]
    if len(best or found) > 1:
        raise InputError(f"{where}: several columns match: {', '.join(best or found)}; choose one by {option}")
    return next(iter(best or found), None)
