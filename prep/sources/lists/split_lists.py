"""Official splits of class folders, as lists of images without labels next to them.

Food-101 has `meta/train.txt` and `meta/test.txt` with lines like `apple_pie/1005649`, CUB-200 `images.txt` with an id
and a path per line and `train_test_split.txt` with an id and 1 for train or 0 for test. Such lists divide the images
that were read as one split. Other files that seem to list splits are noted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ....errors import InputError
from ...format.shard_set import SPLITS
from ..columns.ordered import names_of, selected
from ..folders.listing import Folder
from ..inputs import SourceSplit
from ..labels import class_id_of
from ..litter import is_annotation_name
from ..options import SourceOptions
from ..split_names import says_split, split_called
from .text_table import text_lines

PATHS_NAME, FLAGS_NAME = "images.txt", "train_test_split.txt"  # CUB-200
_MOST_NAMES = 3  # in a note


def split_lists(folder: Folder) -> tuple[Path, ...]:
    """The lists in `folder` that could divide class folders: `train.txt` and others, or CUB's two tables."""
    texts = [Path(file.path) for file in folder.files if file.name.lower().endswith(".txt")]
    tables = tuple(path for name in (PATHS_NAME, FLAGS_NAME) for path in texts if path.name == name)
    named = {split: [path for path in texts if split_called(path.stem) == split] for split in SPLITS}
    lists = tuple(path for split in SPLITS for path in named[split])
    is_clear = len(named["train"]) == 1 and len(lists) > 1 and all(len(paths) < 2 for paths in named.values())
    found = tables if len(tables) == 2 else lists if is_clear else ()
    return found if all(path.is_file() for path in found) else ()


def are_without_labels(lists: Sequence[Path], folder: Folder) -> bool:
    """Whether the first lines of the lists name images in folders in `folder` or one folder deeper, but no labels."""
    return all(_names_image_alone(path, folder) for path in lists)


def _names_image_alone(path: Path, folder: Folder) -> bool:
    line = next((line.strip() for _, line in text_lines(path) if line.strip()), "")
    first, slash, rest = line.partition("/")
    if not slash or any(map(str.isspace, rest)):
        return False
    return first in folder.folders or any(first in folder.child(name).folders for name in folder.folders)


def divided(split: SourceSplit, folder: Folder, options: SourceOptions) -> tuple[SourceSplit, ...]:
    """The splits of the class folders in `folder`, by lists in it, next to it or in a folder next to it.

    Returns `split` alone if there are no such lists, or for the layout `class-folders`; notes which files seem to list
    splits then. Raises InputError for an image in two lists and for lists of two folders that both fit.
    """
    if options.layout is None:
        lists = [found for place in _places(folder) if (found := split_lists(place))]
        fitting = [(one, split_of) for one in lists if (split_of := _splits(split, one, folder))]
        if len(fitting) > 1:
            one, other = (found[0] for found, _ in fitting[:2])
            raise InputError(
                f"{one} and {other} both divide {folder.where} into splits; move one of them away, or pass --layout "
                "class-folders to read all images as one split"
            )
        if fitting:
            return _divided(split, folder, *fitting[0])
        if awaited := [path for found in lists for path in found if str(path) in folder.remarks.used]:
            raise InputError(
                f"{awaited[0]}: does not divide the class folders in {folder.where}: expected lines like "
                f"{split.images[0].name}, and two splits, train and another; correct the lists, or pass --layout "
                "class-folders to read all images as one split"
            )
    note_split_files(folder)
    return (split,)


def _places(folder: Folder) -> Iterator[Folder]:
    """The folders where lists are searched: `folder`, the one that contains it, and others in that without images."""
    yield folder
    if folder.parent is not None:
        yield folder.parent
        beside = (folder.parent.child(name) for name in folder.parent.folders)
        yield from (one for one in beside if one is not folder and one.holds_no_images())


def _divided(
    split: SourceSplit, folder: Folder, lists: Sequence[Path], split_of: dict[int, str]
) -> tuple[SourceSplit, ...]:
    folder.remarks.used.update(map(str, lists))
    called = " and ".join(path.name for path in lists)
    folder.remarks.note(
        f"{folder.where}: divided into splits as {called} in {lists[0].parent} list its images; --layout class-folders "
        "reads all as one split"
    )
    for i, image in enumerate(split.images) if len(split_of) < len(split.images) else ():
        if i not in split_of:
            folder.remarks.pass_over(f"images that {called} do not list", image.container)
    places = {name: sorted(i for i, one in split_of.items() if one == name) for name in SPLITS}
    images = {name: selected(split.images, np.array(of, np.int64)) for name, of in places.items() if of}
    return tuple(replace(split, name=name, images=of) for name, of in images.items())


def _splits(split: SourceSplit, lists: Sequence[Path], folder: Folder) -> dict[int, str]:
    """The split of every listed image, by its position; empty if the lists do not divide the images."""
    positions = _positions(split)
    split_of: dict[int, str] = {}
    lines: dict[int, str] = {}
    missing: list[str] = []
    for where, written, name in _rows(lists):
        path = class_id_of(written)
        at = positions.get(path, positions.get(path.removeprefix(f"{folder.where.name}/")))
        if at is None:
            missing.append(f"{where}: {written}")
        elif at < 0:
            raise InputError(
                f"{where}: {written} can be any of two images that differ only in their extensions; move one of them "
                "away, or pass --layout class-folders to read all images as one split"
            )
        elif split_of.setdefault(at, name) != name:
            raise InputError(
                f"{where}: {written} is in {name} and, by {lines[at]}, in {split_of[at]}; remove one of the lines, or "
                "pass --layout class-folders to read all images as one split"
            )
        else:
            lines.setdefault(at, where)
    if "train" not in split_of.values() or len(set(split_of.values())) < 2:
        return {}
    if missing:
        folder.remarks.note(
            f"{missing[0]} is not among the images; listed but missing: {len(missing):,}; is the download complete?"
        )
    return split_of


def _positions(split: SourceSplit) -> dict[str, int]:
    """The position of each image by its name and by its name without the extension; -1 if several have the latter."""
    names = [class_id_of(name.decode("utf-8", "surrogateescape")) for name in names_of(split.images)]
    stems: dict[str, int] = {}
    for i, name in enumerate(names):
        stem = str(Path(name).with_suffix(""))
        stems[stem] = -1 if stem in stems else i
    return stems | {name: i for i, name in enumerate(names)}


def _rows(lists: Sequence[Path]) -> Iterator[tuple[str, str, str]]:
    """File and line, path and split of every listed image."""
    if lists[-1].name != FLAGS_NAME:
        for path in lists:
            for number, line in text_lines(path):
                if line.strip():
                    yield f"{path}, line {number}", line.strip(), split_called(path.stem) or ""
        return
    paths, flags = (dict(_pairs(path)) for path in lists)
    for image, flag in flags.items():
        if flag not in ("0", "1") or image not in paths:
            raise InputError(
                f"{lists[1]}: image {image} has {flag!r} and {'a' if image in paths else 'no'} path in "
                f"{lists[0].name}; expected 0 or 1, and a path; or pass --layout class-folders to read all images as "
                "one split"
            )
        yield f"{lists[1]}, image {image}", paths[image], "train" if flag == "1" else "test"


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    return ((first, rest.strip()) for _, line in text_lines(path) for first, _, rest in [line.strip().partition(" ")])


def note_split_files(folder: Folder) -> None:
    """Note which files in or beside `folder`, whose images were read as one split, seem to list splits."""
    found = [
        file.path
        for place in _places(folder)
        for file in place.files
        if is_annotation_name(file.name) and says_split(Path(file.name).stem) and file.path not in folder.remarks.used
    ]
    if found:
        examples = ", ".join(found[:_MOST_NAMES]) + (", …" if len(found) > _MOST_NAMES else "")
        is_packed = not Path(found[0]).is_file()
        advice = "unpack the zip file" if is_packed else "pass a list with columns path, label and split as SOURCE"
        folder.remarks.note(
            f"{folder.where}: read as one split; {examples} may list official splits, but were not used; to use them, "
            f"{advice}"
        )
