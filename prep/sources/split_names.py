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
_PART = re.compile(r"(.*-)(\d{5,6})-of-(\d{5,6})(?!\d)")
# A whole name that means a split if another split is beside it: `train_set`, `Test Set`, `seg_train`, `val2017`, and
# `train.X1` in Kaggle's ImageNet-100.
_LIKE = re.compile(
    rf"(?:.*[^a-z])?({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})"
    r"(?:[ _-]?(?:(?:data)?set|data|images?|imgs?|folder|split|part)?|\.x)[^a-z]*",
    re.I,
)


# A split as one word among others: iNaturalist's `train_mini`, `small-val`.
_AMONG_OTHERS = re.compile(rf"(?:.*[^a-z])?({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})(?:[^a-z].*)?", re.I)


def split_called(name: str) -> str | None:
    """The split that a folder or list named `name` holds, ignoring case; None if it is not the name of a split."""
    return _SPLIT_OF.get(name.strip().casefold())


def splits_among(names: Sequence[str]) -> dict[str, str]:
    """The split of each folder, among sibling folders, that is named like a split.

    Names that only resemble one, such as `train_set` or `test1`, count if there are then several splits, including
    train.
    """
    called = {name: split for name in names if (split := split_called(name))}
    like = {name: _SPLIT_OF[found[1].casefold()] for name in names if (found := _LIKE.fullmatch(name.strip()))}
    both = called | {name: split for name, split in like.items() if split not in called.values()}
    return both if "train" in both.values() and len(set(both.values())) > 1 else called


def splits_within(names: Iterable[str]) -> dict[str, str]:
    """The split of each name that contains one as a word among others; the name alone does not make it a split."""
    found = ((name, _AMONG_OTHERS.fullmatch(name.strip())) for name in names)
    return {name: _SPLIT_OF[word[1].casefold()] for name, word in found if word}


def split_in(file_name: str) -> tuple[str, str] | None:
    """Split and family of a file: ("train", "imagenet-train-") for `imagenet-train-0000.tar`; None if it has no split.

    Files of one family differ only in what follows the split's name.
    """
    found = _IN_FILE_NAME.match(file_name)
    return (_SPLIT_OF[found[2].casefold()], found[0]) if found else None


def missing_parts(file_names: Iterable[str]) -> str | None:
    """Describe in one line which files named like `…-00000-of-00002…` are missing; None if none are."""
    parts: dict[tuple[str, str], set[int]] = {}
    for name in file_names:
        if found := _PART.match(name):
            parts.setdefault((found[1], found[3]), set()).add(int(found[2]))
    for (before, total), numbers in sorted(parts.items()):
        if (num_absent := int(total) - len(numbers)) > 0:
            first = next(i for i in range(int(total)) if i not in numbers)
            example = f"{before}{first:0{len(total)}}-of-{total}"
            return f"{len(numbers)} of {int(total)} files; {num_absent} missing, e.g. {example}"
    return None
