"""Which column or key of a list or a table is the image, the label or the split: the usual names, in any case."""

from collections.abc import Sequence

from ....errors import InputError
from ..labels import Unlabeled

IMAGE_NAMES = (
    *("path", "file_name", "filename", "file", "image", "image_path", "img", "img_path", "filepath", "file_path"),
)
LABEL_NAMES = (
    *("label", "class", "class_id", "class_name", "class_index", "class_idx", "label_id", "label_name", "target"),
    *("category", "category_id", "fine_label", "wnid", "labels"),
)
SPLIT_NAMES = ("split", "subset", "partition", "set")


def find_column(
    columns: Sequence[str], usual: Sequence[str], wanted: str | None, option: str, where: str
) -> str | None:
    """The column that has one of the `usual` names.

    Args:
        columns: The names that there are.
        usual: Names that the column may have; the first of them is taken before the others.
        wanted: The name that the user gave, if any.
        option: The command-line option that gives it.
        where: File and line, for errors.

    None when there is none. InputError when `wanted` is not there, which is Unlabeled for a column of labels, as the
    test splits of sources lack it, and when several columns have a usual name.
    """
    if wanted is not None:
        if wanted not in columns:
            raise (Unlabeled if usual is LABEL_NAMES else InputError)(
                f"{where}: no column {wanted!r} ({option}); there are {', '.join(columns) or 'none'}"
            )
        return wanted
    found = [column for column in columns if column.strip().casefold() in usual]
    best = [column for column in found if column.strip().casefold() == usual[0]]
    if len(best or found) > 1:
        raise InputError(f"{where}: more than one column may be meant: {', '.join(best or found)}; name it by {option}")
    return next(iter(best or found), None)
