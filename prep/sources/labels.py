"""Turns a source's labels, numbers or names, into a class table and class indices.

Lists, tars and parquet files follow one rule: whole numbers are class indices; names are classes, sorted as text.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence

from ...errors import InputError
from ..format.manifest import UNLABELED, ClassEntry
from .columns.gathered import Gathered
from .columns.ordered import in_order, relabeled
from .inputs import ClassOrder, SourceImage, SourceSplit

MAX_UNNAMED_CLASSES = 100_000  # larger labels are not class indices

_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")

RawLabel = int | str
"""A label as the source writes it: a whole number or the name of a class."""


class Unlabeled(InputError):
    """The images of a split have no labels; it can be stored without labels or left out."""


def class_id_of(name: str) -> str:
    """The class id of a name: its NFC form, since Unicode has several forms of one name (macOS and Linux differ)."""
    return unicodedata.normalize("NFC", name)


def require_unicode(text: str, where: object) -> None:
    """Raise InputError, which begins with `where`, for a class id or name that a manifest in UTF-8 cannot hold.

    Names of files that are not in UTF-8, and halves of surrogate pairs in JSON, give such text.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"{where}: the class name {text!a} is not valid Unicode; correct it") from None


def raw_label(value: object) -> RawLabel | None:
    """Convert a value from JSON, a table or text to a label; None if it is not a label.

    `"7"` and `7.0` are the number 7, `"007"` is a name.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return value
    if not isinstance(value, str) or not value.strip():
        return None
    text = value.strip()
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else class_id_of(text)


class LabeledImages:
    """Collects images and their labels while a source is listed, and stores them as columns."""

    def __init__(self) -> None:
        self._images = Gathered()
        self._numbers: dict[RawLabel | None, int] = {}
        self._labels: list[RawLabel | None] = []  # without repetitions
        self._counts: list[int] = []  # number of images with each label
        self._first: list[int] = []  # position of the first image with each label

    def __len__(self) -> int:
        return len(self._images)

    def add(self, label: RawLabel | None, image: SourceImage) -> None:
        """Add an image that has no class index yet and is named by its file alone; a missing label is None."""
        number = self._numbers.setdefault(label, len(self._numbers))
        if number == len(self._labels):
            self._labels.append(label)
            self._counts.append(0)
            self._first.append(len(self._images))
        self._counts[number] += 1
        self._images.add(image, number)

    def labels(self) -> list[RawLabel | None]:
        """The distinct labels, in order of first occurrence."""
        return list(self._labels)

    def count(self, label: RawLabel | None) -> int:
        """Number of images with this label."""
        number = self._numbers.get(label)
        return 0 if number is None else self._counts[number]

    def forget_labels(self) -> None:
        """Treat all images as unlabeled."""
        self._labels = [UNLABELED] * len(self._labels)

    def split(
        self, name: str, where: Callable[[SourceImage], str], *, table: Sequence[str] | None = None
    ) -> SourceSplit:
        """Return the split of all images.

        Args:
            name: The split's name.
            where: Returns where an image was listed, for error messages.
            table: The class ids, if the source lists them.

        Raises InputError for a missing label, a number that is not a class index, a name that is not in `table`, and
        a mix of numbers and names.
        """
        images = self._images.images()
        if None in self._labels:
            check_number(None, where(images[self._first[self._labels.index(None)]]), table)
        labels = [label for label in self._labels if label is not None]
        indices, ids, order = class_indices(labels, lambda i: where(images[self._first[i]]), table=table)
        return sorted_split(name, relabeled(images, indices, ids), ids, order)


def class_indices(
    labels: Sequence[RawLabel], where: Callable[[int], str], *, table: Sequence[str] | None = None
) -> tuple[list[int], Sequence[str], ClassOrder]:
    """Return the class index of every label, the class ids, and where their order comes from.

    Args:
        labels: The labels of all images, or the distinct ones in order of first occurrence.
        where: Returns where label i was found, for error messages.
        table: The class ids, if the source lists them.

    Raises InputError in the same cases as `LabeledImages.split`, and for names that are not valid Unicode.
    """
    names = sorted({label for label in labels if isinstance(label, str)})
    if names and all(name.isdigit() for name in names):  # 001, 099, 100: zero-padded ids are names
        labels = [str(label) for label in labels]
        names = sorted({str(label) for label in labels})
    if table is None and names:
        kind = type(labels[0])
        other = next((i for i, label in enumerate(labels) if type(label) is not kind), None)
        if other is not None:
            found = "a name among numbers" if isinstance(labels[other], str) else "a number among names"
            raise InputError(
                f"{where(other)}: label {labels[other]!r}, {found} such as {labels[0]!r}; write all labels as numbers, "
                "or all as names"
            )
    for text in (*names, *(table or ())):
        require_unicode(text, where(labels.index(text) if text in names else 0))
    order: ClassOrder = "table" if table is not None else "text" if names else "numbers"
    ids = table if table is not None else names or None
    index_of = {class_id: i for i, class_id in enumerate(ids or ())}
    indices = []
    for i, label in enumerate(labels):
        if isinstance(label, str):
            if label not in index_of:
                raise InputError(f"{where(i)}: label {label!r} is not in the class table; correct one of them")
            indices.append(index_of[label])
        else:
            indices.append(check_number(label, where(i), ids))
    if ids is None:
        ids = [str(i) for i in range(1 + max(indices, default=-1))]
    return indices, ids, order


def sorted_split(
    name: str, images: Sequence[SourceImage], class_ids: Sequence[str], class_order: ClassOrder
) -> SourceSplit:
    """A split of `images`, sorted as in every layout; their labels are positions in `class_ids`."""
    classes = tuple(ClassEntry(index=i, id=class_id, name=class_id) for i, class_id in enumerate(class_ids))
    return SourceSplit(name=name, classes=classes, images=in_order(images), class_order=class_order)


def with_names(split: SourceSplit, names: dict[str, str]) -> SourceSplit:
    """The split with readable class names, from those class ids that `names` has."""
    if not names:
        return split
    classes = tuple(
        ClassEntry(index=entry.index, id=entry.id, name=names.get(entry.id, entry.name)) for entry in split.classes
    )
    return SourceSplit(name=split.name, classes=classes, images=split.images, class_order=split.class_order)


def check_number(label: object, where: str, class_ids: Sequence[str] | None) -> int:
    """Return a stored label as a class index; raises InputError, which begins with `where`, if it is not one."""
    num_classes = len(class_ids) if class_ids else MAX_UNNAMED_CLASSES
    if type(label) is not int or not 0 <= label < num_classes:  # True is no label
        found = "no label" if label is None else f"label {label!r}"
        raise InputError(
            f"{where}: {found}; expected a class index, 0 to {num_classes - 1}; correct it, or leave this split out"
        )
    return label
