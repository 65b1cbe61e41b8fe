"""Images of one split in one flat folder, labeled by a file beside them, by their names, or not at all."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...format.manifest import UNLABELED
from ..inputs import SourceSplit
from ..labels import LabeledImages, RawLabel, Unlabeled, check_number, raw_label
from ..litter import is_image_name
from ..options import SourceOptions
from .files import File
from .listing import Folder


class Row(NamedTuple):
    """The label of an image, the line that says so, and the name that it gives the file, where it does."""

    line: int
    label: RawLabel
    file_name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlatLabels:
    """The labels of flat images, by the name of the file without its suffix."""

    path: Path
    """The file that holds them."""
    rows: Mapping[str, Row]
    """Line and label of each image."""
    are_positions: bool = False
    """Whether numbers are positions in the sorted class ids of the training split, as in Caffe's lists."""


def read_flat(
    folder: Folder, split: str, labels: FlatLabels, options: SourceOptions, *, class_ids: Sequence[str] = ()
) -> SourceSplit:
    """The split of the images in `folder`.

    Args:
        folder: The flat folder.
        split: The split's name.
        labels: What labels its images.
        options: What is to be kept.
        class_ids: The class table of the split that was read before, for labels that are positions in it.

    InputError names an image without a row and a row without an image.
    """
    by_position = labels.are_positions and not all(class_id.isdecimal() for class_id in class_ids)
    left = dict(labels.rows)
    rows = LabeledImages()
    for name in folder.folders:
        raise InputError(f"{folder.where / name}: has no row in {labels.path}; expected the flat images that it lists")
    for file in folder.images(options.keep):
        row = left.pop(Path(file.name).stem, None)
        if row is None:
            raise InputError(f"{file.path}: has no row in {labels.path}; expected the flat images that it lists")
        _refuse_other_name(row, file, labels.path)
        label = row.label
        if by_position and isinstance(label, int):
            check_number(label, f"{labels.path}, line {row.line}", class_ids)
            label = class_ids[label]
            folder.remarks.note(f"{labels.path}: numbers are taken as positions in the class ids: 0 is {class_ids[0]}")
        rows.add(label, file.image(file.name, folder.files_beside(file, options.keep)))
    for image, row in left.items():
        raise InputError(
            f"{labels.path}, line {row.line}: {image} is not in {folder.where}; the download is not complete"
        )
    return rows.split(split, lambda image: f"{labels.path}, image {image.name}")


def _refuse_other_name(row: Row, file: File, path: Path) -> None:
    """InputError where a row of the same stem names no image: `1.jpg golden` for `1.jpg` is part of a label."""
    if row.file_name != file.name and Path(row.file_name).suffix and not is_image_name(row.file_name):
        raise InputError(
            f"{path}, line {row.line}: {row.file_name!r} for {file.path}, whose name is another; put a tab between "
            "path and label where the label holds spaces"
        )


def read_named(folder: Folder, split: str, pattern: str, options: SourceOptions) -> SourceSplit:
    """The images in `folder`, labeled by the part of each file's name that the group of a regular expression matches.

    Raises Unlabeled if no name matches, InputError if only some do.
    """
    rows, unlike = LabeledImages(), ""
    for file in folder.images(options.keep):
        found = re.match(pattern, file.name)
        label = raw_label(found[1]) if found else None
        if label is None:
            unlike = unlike or file.path
        else:
            rows.add(label, file.image(file.name, folder.files_beside(file, options.keep)))
    if unlike:
        raise (InputError if len(rows) else Unlabeled)(
            f"{unlike}: --label-pattern '{pattern}' finds no label in its name; write one that fits all names"
        )
    return rows.split(split, lambda image: f"{folder.where}, image {image.name}")


def read_unlabeled(folder: Folder, split: str, options: SourceOptions) -> SourceSplit:
    """The images in `folder` or, where it holds only that, in `images/`, all of one class called `unlabeled`."""
    rows = LabeledImages()
    for file in folder.images(options.keep):
        rows.add(UNLABELED, file.image(file.name, folder.files_beside(file, options.keep)))
    return rows.split(split, lambda image: image.name)
