"""From what examples say of their classes to one table: ids, their order and their names."""

from collections.abc import Callable
from pathlib import Path

from ....errors import InputError
from ..labels import RawLabel
from ..remarks import Remarks
from . import tfds
from .columns import LABEL, SYNSET, Columns
from .rows import Label


class Classes:
    """The classes of one split, collected while its examples are read.

    With ids of WordNet, the table is sorted by them, as that of class folders. Other names are in the order of their
    numbers. Numbers without names are class indices.
    """

    def __init__(self, columns: Columns, folder: Path, remarks: Remarks) -> None:
        self.names: dict[str, str] = {}
        """Readable names by class id."""
        self._columns, self._folder, self._remarks = columns, folder, remarks
        self._number_of: dict[str, RawLabel] = {}
        self._id_of: dict[RawLabel, str] = {}
        self._lowest: int | None = None
        self._table = None
        if columns.class_id is None and columns.label is not None:
            self._table = tfds.class_names(folder, columns.label, remarks)

    def label_of(self, label: Label, where: Callable[[], str]) -> RawLabel | None:
        """The class index, or the id, of an example; None if it has no label.

        Raises InputError if classes of one name have several numbers, or the reverse.
        """
        number = label.label
        if self._columns.class_id is None:
            if self._table is not None and isinstance(number, int) and number >= 0:
                if number not in self._table:
                    raise InputError(f"{where()}: label {number} is not among the names of the classes beside it")
                return self._table[number]
            if isinstance(number, int) and number >= 0:
                self._lowest = number if self._lowest is None else min(self._lowest, number)
            return number
        class_id = label.class_id
        if class_id is not None and number is not None:
            other_number = self._number_of.setdefault(class_id, number)
            other_id = self._id_of.setdefault(number, class_id)
            if other_number != number or other_id != class_id:
                found = f"{self._columns.label} {number} is {class_id!r}"
                other = f"{number} is {other_id!r}" if other_id != class_id else f"so is {other_number}"
                raise InputError(
                    f"{where()}: {found}, but elsewhere {other}; expected one {self._columns.class_id} per "
                    f"number: pass --label-column {self._columns.label} to take the numbers as classes"
                )
        if class_id is not None and label.class_name:
            self.names.setdefault(class_id, label.class_name)
        return class_id

    def table(self) -> list[str] | None:
        """The class ids in the order of their numbers; None if they are sorted as text, or there are none."""
        if self._table is not None:
            return [self._table[number] for number in sorted(self._table)]
        by_number = [self._id_of[number] for number in sorted(self._id_of, key=lambda one: (isinstance(one, str), one))]
        if self._columns.class_id == SYNSET:
            if by_number != sorted(by_number):
                self._remarks.note(
                    f"{self._folder}: classes are sorted by {SYNSET}; {self._columns.label} numbers them in another "
                    "order"
                )
            return None
        if self._columns.label == LABEL and self._lowest is not None and self._lowest > 0:
            self._remarks.note(
                f"{self._folder}: {LABEL} begins at {self._lowest}, as if 0 were background, and no names are given; "
                f"the numbers are class indices, and classes below {self._lowest} have no images"
            )
        return by_number if by_number and len(by_number) == len(self._number_of) else None
