"""Finds lists that are named by split, in a folder that has no other splits, and how to read them."""

from functools import partial
from pathlib import Path

from ....errors import InputError
from ...format.shard_set import SPLITS
from ..candidate import Candidate, SourceFolder
from ..folders.listing import Folder
from ..inputs import SourceSplit
from ..labels import Unlabeled
from ..split_names import split_called
from .image_list import SUFFIXES, read_image_list
from .split_lists import are_without_labels, split_lists


def lists_in(folder: Folder, source: SourceFolder) -> list[Candidate]:
    """`train.csv`, `val.txt` and so on in `folder`; none if they only divide class folders."""
    lists: dict[str, list[Path]] = {}
    for file in folder.files:
        path = Path(file.path)
        split = split_called(path.stem)
        if split is not None and path.suffix.lower() in SUFFIXES and path.is_file():
            lists.setdefault(split, []).append(path)
    if any(len(paths) > 1 for paths in lists.values()) or source.options.layout not in (None, "list"):
        return []
    if len(official := split_lists(folder)) > 1 and are_without_labels(official, folder):
        source.remarks.used.update(map(str, official))
        return []
    return [
        Candidate(
            split=split,
            path=lists[split][0],
            kind="a list of images",
            layout="list",
            read=partial(_read_one_list, lists[split][0], split, source),
        )
        for split in SPLITS
        if split in lists
    ]


def _read_one_list(path: Path, split: str, source: SourceFolder, _: SourceSplit | None) -> SourceSplit:
    try:
        (found, *others) = read_image_list(path, source.options, source.remarks, base=source.folder.store_url)
    except Unlabeled:
        raise
    except InputError as error:
        advice = "; or pass --layout class-folders to read the folders beside the list"
        raise InputError(f"{error}{advice if source.folder.folders else ''}") from None
    if others or found.name != split:
        raise InputError(
            f"{path}: named after the split {split}, but its rows name other splits; pass the file itself as SOURCE"
        )
    return found
