"""One class table for all splits of a source: that of the first split, which is train if there is one.

A label then means the same class everywhere. A split may lack classes of the table. It may not have classes that the
table lacks, nor define another order.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import InputError
from ..format.manifest import UNLABELED, ClassEntry
from .columns.ordered import relabeled
from .inputs import SourceSplit
from .labels import sorted_split
from .remarks import Remarks

SHOWN = 3


def join_classes(source: Path, splits: Sequence[SourceSplit]) -> tuple[SourceSplit, ...]:
    """Give all splits the class table of the first; raises InputError if a label would then have two meanings."""
    if len(splits) < 2 or is_unlabeled(splits[0]):
        return tuple(splits)
    first = splits[0]
    joined = [first]
    for split in splits[1:]:
        joined.append(split if is_unlabeled(split) else _brought_to(source, first, split))
    return tuple(joined)


def is_unlabeled(split: SourceSplit) -> bool:
    """Whether the images of a split have no labels."""
    return [entry.id for entry in split.classes] == [UNLABELED]


def note_classes(splits: Sequence[SourceSplit], remarks: Remarks) -> None:
    """Note classes without images, a table of only one class, names alike but for case, and numbers sorted as text."""
    for split in splits:
        num_images = split.images_per_class()
        empty = [class_id for class_id, count in num_images.items() if count == 0]
        if empty:
            remarks.note(f"{split.name}: {len(empty):,} of {len(num_images):,} classes have no images: {_some(empty)}")
    ids = [entry.id for entry in splits[0].classes]
    if len(ids) == 1 and ids != [UNLABELED]:
        remarks.note(
            f"there is only one class, {ids[0]}; if that is not a class, pass the folder that holds the classes"
        )
    spelled: dict[str, str] = {}
    for class_id in ids:
        if (other := spelled.setdefault(class_id.casefold(), class_id)) != class_id:
            remarks.note(f"classes {other} and {class_id} differ only in case; if they are one class, merge them")
            break
    numbers = sorted(ids, key=int) if all(one.isdecimal() for one in ids) else ids
    if splits[0].class_order == "text" and ids != numbers:
        first = next(i for i, (text, number) in enumerate(zip(ids, numbers, strict=True)) if text != number)
        remarks.note(
            f"class ids are sorted as text, so class {first} is {ids[first]!r}; to sort them by number, rename the "
            "classes with leading zeros"
        )


def _brought_to(source: Path, first: SourceSplit, split: SourceSplit) -> SourceSplit:
    """`split` with the class table of `first`."""
    if [entry.id for entry in split.classes] == [entry.id for entry in first.classes]:
        return replace(split, classes=_with_names_of(split, first))
    index_of = {entry.id: entry.index for entry in first.classes}
    used = split.labels_used()
    lacking = [entry.id for entry in split.classes if entry.id not in index_of and entry.index in used]
    if lacking:
        only = f"{len(lacking)} only in {split.name}: {_some(lacking)}"
        raise InputError(
            f"{source}: {first.name} and {split.name} have different classes ({only}); a label would have two "
            "meanings: give both splits the same classes"
        )
    if _differ_in_order(first, split):
        raise InputError(
            f"{source}: {first.name} and {split.name} have the same classes in different order ({_order(first)}; "
            f"{_order(split)}); a label would have two meanings: label both splits the same way"
        )
    images = relabeled(split.images, [index_of.get(entry.id, 0) for entry in split.classes])
    ids = [entry.id for entry in first.classes]
    return replace(sorted_split(split.name, images, ids, first.class_order), classes=first.classes)


def _with_names_of(split: SourceSplit, first: SourceSplit) -> tuple[ClassEntry, ...]:
    """The class table of `split`, with names from `first` for classes that have none of their own."""
    return tuple(
        theirs if own.name == own.id else own for own, theirs in zip(split.classes, first.classes, strict=True)
    )


def _differ_in_order(first: SourceSplit, split: SourceSplit) -> bool:
    """Whether the two splits define different orders of their classes.

    An order that only comes from sorting text does not conflict with a table. It can conflict with numbers, which may
    be positions in it.
    """
    orders = {first.class_order, split.class_order}
    if orders == {"text"} or orders == {"text", "table"}:
        return False
    index_of = {entry.id: entry.index for entry in first.classes}
    indices = [index_of[entry.id] for entry in split.classes if entry.id in index_of]
    return indices != sorted(indices)


def _order(split: SourceSplit) -> str:
    how = {"text": "sorted as text", "table": "in the order of its table"}.get(split.class_order, "by number")
    return f"{split.name} {how}: {', '.join(entry.id for entry in split.classes[:4])}, …"


def _some(ids: Sequence[str]) -> str:
    return f"{', '.join(ids[:SHOWN])}{', …' if len(ids) > SHOWN else ''}"
