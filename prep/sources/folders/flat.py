"""Images of one split in one flat folder, labeled by a file, by their names, or not at all."""

import re
from collections.abc import Iterable, Mapping, Sequence
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
    """The label of an image, its line, and the file name in that line, if it has one."""

    line: int
    label: RawLabel
    file_name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlatLabels:
    """The labels of flat images, by file name without suffix."""

    path: Path
    """The file that holds the labels, or the folder of XML files."""
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
        labels: The labels of its images.
        options: The extras to keep.
        class_ids: The class ids of the source's first split, for labels that are positions in it.

    Raises InputError, naming it, for an image without a row, a row without an image, and a folder. A test split whose
    labels are all 0 is unlabeled, as in Caffe's list of ILSVRC's test images.
    """
    if split == "test" and len(labels.rows) > len(class_ids) > 1 and not any(row.label for row in labels.rows.values()):
        if options.unlabeled:
            return read_unlabeled(folder, split, options)
        raise Unlabeled(
            f"{labels.path}: every label is 0, so these are no labels; pass --unlabeled to store images without labels"
        )
    by_position = labels.are_positions and not all(class_id.isdecimal() for class_id in class_ids)
    left = dict(labels.rows)
    rows = LabeledImages()
    for name in folder.folders:
        raise InputError(
            f"{folder.where / name}: has no row in {labels.path}; expected only the images that it lists, not folders"
        )
    for file in folder.images(options.keep):
        row = left.pop(Path(file.name).stem, None)
        if row is None:
            raise InputError(f"{file.path}: has no row in {labels.path}; expected only the images that it lists")
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
    """Raise InputError if the row for a file names another file, not an image: `1.jpg golden` is part of a label."""
    if row.file_name != file.name and Path(row.file_name).suffix and not is_image_name(row.file_name):
        raise InputError(
            f"{path}, line {row.line}: {row.file_name!r} does not match {file.path}; if the label contains spaces, put "
            "a tab between path and label"
        )


def read_named(folder: Folder, split: str, pattern: str, options: SourceOptions) -> SourceSplit:
    """The images in `folder`, labeled by the part of the file name that the group of a regular expression matches.

    If no name matches, the split is unlabeled: all become one class `unlabeled` if `options.unlabeled`, else Unlabeled
    is raised. Raises InputError if only some match.
    """
    rows, unlike = LabeledImages(), ""
    _pass_over_folders(folder)
    files = list(folder.images(options.keep))
    for file in files:
        found = re.match(pattern, file.name)
        label = raw_label(found[1]) if found else None
        if label is None:
            unlike = unlike or file.path
        else:
            rows.add(label, file.image(file.name, folder.files_beside(file, options.keep)))
    if unlike and not len(rows) and options.unlabeled:
        return _without_labels(folder, files, split, options)
    if unlike:
        raise (InputError if len(rows) else Unlabeled)(
            f"{unlike}: --label-pattern '{pattern}' finds no label in its name; write a pattern that fits all names"
            + ("" if len(rows) else ", or pass --unlabeled to store the images without labels")
        )
    return rows.split(split, lambda image: f"{folder.where}, image {image.name}")


def read_unlabeled(folder: Folder, split: str, options: SourceOptions) -> SourceSplit:
    """All images in `folder`, as one class `unlabeled`."""
    _pass_over_folders(folder)
    return _without_labels(folder, folder.images(options.keep), split, options)


def _without_labels(folder: Folder, files: Iterable[File], split: str, options: SourceOptions) -> SourceSplit:
    rows = LabeledImages()
    for file in files:
        rows.add(UNLABELED, file.image(file.name, folder.files_beside(file, options.keep)))
    return rows.split(split, lambda image: image.name)


def _pass_over_folders(folder: Folder) -> None:
    for name in folder.folders:
        folder.remarks.pass_over("folders beside images that are read as flat", str(folder.where / name))
