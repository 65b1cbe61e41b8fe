"""Recognizes splits by the names of folders, files and lists."""

import re
from collections.abc import Iterable, Sequence

SPLIT_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {word: split for split, words in SPLIT_WORDS.items() for word in words}
EXPECTED = "; ".join(f"{split}: {', '.join(words)}" for split, words in SPLIT_WORDS.items())
# A separate word in a file name: `imagenet-train-00000.tar`, `validation.parquet`, `my_test_0001.tar`.
_IN_FILE_NAME = re.compile(
    rf"(.*?)(?<![a-z])({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})(?![a-z])[-_.]?", re.I
)
# One of several files; what follows may be a hash that differs between them.
_PART = re.compile(r"(.*[-_])(\d{5,6})-of-(\d{5,6})(?!\d)")
# A whole name that means a split if another split is beside it: `train_set`, `Test Set`, `seg_train`, `val2017`, and
# `train.X1` in Kaggle's ImageNet-100.
_LIKE = re.compile(
    rf"(?:.*[^a-z])?({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})"
    r"(?:[ _-]?(?:(?:data)?set|data|images?|imgs?|jpe?gs?|pngs?|folder|split|part|rec(?:ord(?:s|io)?)?|(?:lm)?db)?"
    r"|\.(?:x|lmdb))[^a-z]*",
    re.I,
)
# Any of these words, as in iNaturalist's `train_mini`, `small-val` and, twice, in `train_val`.
_WORD = re.compile(rf"(?<![a-z])({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})(?![a-z])", re.I)
_NUMBER = re.compile(r"[\W\d_]*$")


def split_called(name: str) -> str | None:
    """The split that a folder or list named `name` holds, ignoring case; None if it is not the name of a split."""
    return _SPLIT_OF.get(name.strip().casefold())


def splits_among(names: Sequence[str]) -> dict[str, str]:
    """The split of each folder, among sibling folders, that is named like a split.

    Names that only resemble one, such as `train_set` or `test1`, count if there are then several splits, including
    train.
    """
    called = {name: split for name in names if (split := split_called(name))}
    both = called | {name: split for name, split in splits_like(names).items() if split not in called.values()}
    return both if "train" in both.values() and len(set(both.values())) > 1 else called


def splits_like(names: Iterable[str]) -> dict[str, str]:
    """The split of each name that resembles that of a split, such as `train_set` or `test1`."""
    return {name: split for name, split in splits_within(names).items() if _LIKE.fullmatch(name.strip())}


def splits_within(names: Iterable[str]) -> dict[str, str]:
    """The split of each name that contains one as a word; none if it contains several, as `train_val` does.

    The name alone does not make it a split.
    """
    splits = {name: {_SPLIT_OF[word.casefold()] for word in _WORD.findall(name)} for name in names}
    return {name: found.pop() for name, found in splits.items() if len(found) == 1}


def of_other_split(names: Sequence[str], split: str) -> str | None:
    """The first name that contains another split as a word; None if all do, or none."""
    others = [name for name, found in splits_within(names).items() if found != split]
    return others[0] if 0 < len(others) < len(names) else None


def says_split(name: str) -> bool:
    """Whether the name contains any split as a word, as `train_test_split` and `trainval` do."""
    return says_train(name) or _WORD.search(name) is not None


def says_train(name: str) -> bool:
    """Whether the name contains train as a word, possibly among other splits, as `train_val` and `trainval` do."""
    return any(
        _SPLIT_OF[word.casefold()] == "train" for word in _WORD.findall(name.casefold().replace("trainval", "train"))
    )


def before_number(name: str) -> str:
    """The name up to the number at its end: `train.X` for `train.X1`, `test` for `test_2018`."""
    return _NUMBER.sub("", name, count=1)


def are_numbered(names: Sequence[str]) -> bool:
    """Whether several names differ only in the numbers at their ends, which one of them may lack."""
    starts = [before_number(name) for name in names]
    num_without = sum(not any(map(str.isdigit, name[len(start) :])) for name, start in zip(names, starts, strict=True))
    return len(names) > 1 and len({start.casefold() for start in starts}) == 1 and num_without < 2


def split_in(file_name: str) -> tuple[str, str] | None:
    """Split and family of a file: ("train", "imagenet-train-") for `imagenet-train-0000.tar`; None if it has no split.

    Files of one family differ only in what follows the split's name.
    """
    found = _IN_FILE_NAME.match(file_name)
    return (_SPLIT_OF[found[2].casefold()], found[0]) if found else None


def missing_parts(file_names: Iterable[str]) -> str | None:
    """Describe in one line which files named like `…-00000-of-00002…` are missing; None if none are."""
    for (before, total), numbers in sorted(_parts(file_names).items()):
        if (num_absent := int(total) - len(numbers)) > 0:
            first = next(i for i in range(int(total)) if i not in numbers)
            example = f"{before}{first:0{len(total)}}-of-{total}"
            return f"{len(numbers)} of {int(total)} files; {num_absent} missing, e.g. {example}"
    return None


def mixed_parts(file_names: Iterable[str]) -> str | None:
    """Describe files that divide one set in several ways, as `…-of-00002` and `…-of-00004` do; None if none do."""
    totals: dict[str, list[str]] = {}
    for before, total in sorted(_parts(file_names)):
        totals.setdefault(before, []).append(total)
    mixed = next((before for before, some in totals.items() if len(some) > 1), None)
    return None if mixed is None else " and ".join(f"{mixed}…-of-{total}" for total in totals[mixed])


def part_names(file_names: Iterable[str]) -> list[str]:
    """What the names of files like `…-00000-of-00002` begin with, sorted: one for each set that they are parts of."""
    return sorted({before for before, _ in _parts(file_names)})


def _parts(file_names: Iterable[str]) -> dict[tuple[str, str], set[int]]:
    """The numbers of files like `…-00000-of-00002` by what precedes and what follows them."""
    parts: dict[tuple[str, str], set[int]] = {}
    for name in file_names:
        if found := _PART.match(name):
            parts.setdefault((found[1], found[3]), set()).add(int(found[2]))
    return parts
