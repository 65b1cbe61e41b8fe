"""Doubts whether class folders are classes, by their names: refused if they hardly can be, else noted."""

import re
from collections.abc import Iterator, Sequence
from shlex import quote

from ....errors import InputError
from ..options import SourceOptions
from ..split_names import SPLIT_WORDS, are_numbered, split_called, splits_among, splits_like
from .files import File
from .flat_labels import lists_beside
from .listing import Folder

_OF_IMAGES = frozenset(
    (
        *("image", "images", "img", "imgs", "jpg", "jpgs", "jpeg", "jpegs", "png", "pngs", "jpegimages"),
        *("pictures", "data", "dataset"),
    )
)
_OF_SPLITS = frozenset(
    (*(word for words in SPLIT_WORDS.values() for word in words), "unlabeled", "unlabelled", "extra", "evaluation")
)
_OF_PARTS = frozenset(
    (
        *("part", "folder", "set", "input", "raw", "original", "standard", "resized", "annotation", "annotations"),
        *("masks", "trimaps", "labels", "segmentationclass", "segmentationobject"),
    )
)
_WORD = re.compile(r"[^\W\d_]+")
_SPREAD = re.compile(r"[0-9a-zA-Z](?:/[0-9a-zA-Z])+")
_MASK = re.compile(r"(.+)[_-]mask(?:[_-]?\d+)?\.[^.]+", re.I)


def refuse_copies(folder: Folder, class_ids: Sequence[str]) -> None:
    """Raise InputError if one folder holds all the classes beside it again, as in archives that were packed twice."""
    inside: dict[str, set[str]] = {}
    for class_id in class_ids:
        for outer, rest in _divisions(class_id):
            inside.setdefault(outer, set()).add(rest)
    for outer, inner in inside.items():
        if 2 * len(inner) < len(class_ids):
            continue  # more classes are beside the folder than in it
        beside = {class_id for class_id in class_ids if not class_id.startswith(f"{outer}/")}
        if len(beside) > 1 and beside <= inner:
            first = min(beside)
            raise InputError(
                f"{folder.where}: {outer}/ holds folders like {first}, and so does the folder that it is in; if they "
                f"are the same images, move {outer}/ away or pass {folder.where / outer} as SOURCE; if {first} and "
                f"{outer}/{first} are two classes, pass --layout class-folders"
            )


def _divisions(class_id: str) -> Iterator[tuple[str, str]]:
    parts = class_id.split("/")
    return (("/".join(parts[:i]), "/".join(parts[i:])) for i in range(1, len(parts)))


def refuse_masks(files: Sequence[File]) -> None:
    """Raise InputError if a file in a folder of images is named like the mask of another: `1_mask.png` for `1.png`."""
    masks = {
        found[1]: file
        for file in files
        if ("ask" in file.name or "ASK" in file.name) and (found := _MASK.fullmatch(file.name))
    }
    for file in files if masks else ():
        if (mask := masks.get(file.name.rpartition(".")[0])) is not None:
            raise InputError(
                f"{mask.path}: seems to be the mask of {file.name}, not an image of the class; move all masks out of "
                "SOURCE or, if they are images of the class, pass --layout class-folders"
            )


def refuse_image_folders(folder: Folder, class_ids: Sequence[str], split: str) -> None:
    """Raise InputError if class ids are names like `images`, or name the same but for such words and for numbers.

    Folders `HAM10000_images_part_1` and `HAM10000_images_part_2`, `train_images` and `unlabeled_images` hold the images
    of all classes, and so do folders `0/a/3` that spread images by their names. The name of one split may be that of a
    class, unless it is beside folders of class folders.
    """
    words = {class_id: frozenset(_WORD.findall(class_id.casefold())) for class_id in class_ids}
    of_all = _OF_IMAGES | _OF_SPLITS | _OF_PARTS
    flat = [class_id for class_id in class_ids if "/" not in class_id]
    doubted = [
        class_id
        for class_id, some in words.items()
        if some <= of_all and (some & _OF_IMAGES or (len(class_ids) > len(flat) == 1 and _is_like_split(class_id)))
    ]
    are_alike = len({some - of_all for some in words.values()}) == 1 and not any(map(split_called, class_ids))
    if are_alike and all(some & (_OF_IMAGES | _OF_SPLITS) for some in words.values()):
        doubted = list(class_ids)
    are_splits = len({*splits_among(flat).values()}) > 1 and all(some <= of_all for some in words.values())
    if are_splits or all(map(_SPREAD.fullmatch, class_ids)):
        doubted = list(class_ids)
    if doubted:
        first = folder.where / doubted[0]
        raise InputError(
            f"{first}: seems to hold images of all classes, not of one class; pass a list of its images and their "
            "labels as SOURCE, or this folder with --label-pattern, which takes labels from file names, or "
            "--unlabeled; if it is a class, pass --layout class-folders"
            f"{lists_beside([folder, folder.parent], split)}"
        )


def _is_like_split(class_id: str) -> bool:
    return "/" not in class_id and class_id in splits_like([class_id]) and split_called(class_id) is None


def note_depths(folder: Folder, class_ids: Sequence[str]) -> None:
    """Note if a class is inside another."""
    known = set(class_ids)
    for class_id in class_ids:
        outer = next((outer for outer, _ in _divisions(class_id) if outer in known), None)
        if outer is not None:
            folder.remarks.note(
                f"{folder.where}: {class_id} is inside {outer} and both hold images, so they are two classes; "
                f"--class-depth {outer.count('/') + 1} makes them one"
            )
            return


def check_same_names(folder: Folder, class_ids: Sequence[str], options: SourceOptions) -> None:
    """Note if two folders hold classes of the same names, as splits with unusual names do.

    Raises InputError if they are numbered alike, as parts of a download are, unless layout or depth are given.
    """
    is_sure = options.layout is not None or options.class_depth is not None
    holders: dict[str, str] = {}
    for class_id in class_ids:
        first, _, rest = class_id.partition("/")
        if not rest or (other := holders.setdefault(rest, first)) == first:
            continue
        where = f"{folder.where}: {other}/{rest} and {first}/{rest}"
        if not is_sure and are_numbered((other, first)):
            raise InputError(
                f"{where} would be two classes; if {other} and {first} are the classes, pass --class-depth 1; if they "
                f"are parts of one set, put their class folders together (mkdir all; cp -r {quote(other)}/. "
                f"{quote(first)}/. all/, if no two files have the same path in them) and pass the result; else pass "
                "one of them as SOURCE, or --layout class-folders"
            )
        folder.remarks.note(
            f"{where} are two classes; if {other} and {first} are splits, name them train, val or test; if they are "
            "the classes, pass --class-depth 1; to read only one of them, pass it as SOURCE"
        )
        return
