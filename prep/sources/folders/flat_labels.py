"""Finds the labels for the images of a flat folder: a list or XML annotations, in it or beside it."""

import re
from collections.abc import Sequence
from pathlib import Path

from ....errors import InputError
from ..labels import raw_label
from ..lists.image_list import SUFFIXES
from ..lists.text_table import csv_rows, path_and_label, text_lines
from ..litter import is_other_name
from ..split_names import split_called, splits_within
from .flat import FlatLabels, Row
from .listing import Folder

TINY_NAME = "val_annotations.txt"
SOLUTION_NAME = "LOC_val_solution.csv"
TENSORFLOW_NAME = "imagenet_2012_validation_synset_labels.txt"
MAX_XML_BYTES = 2**18
_WORDNET_ID = re.compile(r"n[0-9]{8}")
_NAME_IN_XML = re.compile(rb"<object>.*?<name>\s*([^<>]+?)\s*</name>", re.S)


def find_flat_labels(split: str, folder: Folder, source: Path) -> FlatLabels | None:
    """Find the labels of the images in `folder`, in it and in `source`; None if there are none.

    Raises InputError, naming file and line, if they cannot be read.
    """
    names = [f"{split}.txt", f"{folder.where.name}.txt"]
    if split == "val":
        names = [SOLUTION_NAME, *names, "val_map.txt", TENSORFLOW_NAME]
    paths = (parent / name for parent in (folder.where, source) for name in names)
    path = next(filter(Path.is_file, paths), None)
    if path is None:
        annotations = (source / "Annotations/CLS-LOC" / split, source / "Annotations" / split, folder.where)
        found = next((one for one in annotations if any(one.glob("*.xml"))), None)
        return None if found is None else read_xml_labels(folder, found)
    folder.remarks.used.add(str(path))
    if path.name == SOLUTION_NAME:
        return FlatLabels(path=path, rows=read_solution(path))
    if path.name == TENSORFLOW_NAME:
        return FlatLabels(path=path, rows=_read_tensorflow(path))
    return FlatLabels(path=path, rows=_read_text(path), are_positions=True)


def lists_beside(folders: Sequence[Folder | None], split: str) -> str:
    """Further advice for the images of a split in the first folder, if there is a table in one of the folders."""
    own = {split, *(split_called(folder.where.name) for folder in folders[:1] if folder is not None)}
    paths = [Path(file.path) for folder in folders if folder is not None for file in folder.files]
    lists = [path for path in paths if path.suffix.lower() in SUFFIXES and path.suffix.lower() != ".txt"]
    splits = splits_within(path.stem for path in lists)
    lists = [path for path in lists if splits.get(path.stem, split) in own]
    # Kaggle's example of a submission has no labels.
    lists.sort(key=lambda path: ("submission" in path.name.casefold(), path.stem not in splits))
    return f"; if {lists[0]} lists them, pass that file as SOURCE" if lists else ""


def read_tiny_annotations(path: Path) -> FlatLabels:
    """`val_annotations.txt` of Tiny ImageNet: name, WordNet id and a box, separated by tabs."""
    rows: dict[str, Row] = {}
    for number, line in text_lines(path):
        fields = line.rstrip("\r\n").split("\t")
        label = raw_label(fields[1]) if len(fields) > 1 else None
        if label is None:
            if line.strip():
                raise InputError(f"{path}, line {number}: {line.strip()!r}; expected a name, a tab and a class id")
            continue
        _add(rows, path, number, fields[0], Row(number, label))
    return FlatLabels(path=path, rows=rows)


def read_solution(path: Path) -> dict[str, Row]:
    """Line and WordNet id of every image id of `LOC_val_solution.csv`."""
    rows: dict[str, Row] = {}
    for number, row in csv_rows(path, ("ImageId", "PredictionString")):
        image, class_id = row["ImageId"], row["PredictionString"].partition(" ")[0]
        if not class_id:
            raise InputError(f"{path}, line {number}: {image} has no class; download the file again")
        if image in rows:
            raise InputError(f"{path}, line {number}: {image} is listed again, first in line {rows[image].line}")
        rows[image] = Row(number, class_id)
    return rows


def _read_tensorflow(path: Path) -> dict[str, Row]:
    """The WordNet ids that TensorFlow's scripts have, one per line in the order of the validation images."""
    rows: dict[str, Row] = {}
    for number, line in text_lines(path):
        class_id = line.strip()
        if not _WORDNET_ID.fullmatch(class_id):
            raise InputError(f"{path}, line {number}: {class_id!r}; expected a WordNet id; download the file again")
        rows[f"ILSVRC2012_val_{number:08}"] = Row(number, class_id)
    return rows


def read_xml_labels(folder: Folder, annotations: Path) -> FlatLabels:
    """The class of the first object in the XML file of each image, as in ILSVRC's `Annotations/CLS-LOC/val`."""
    rows: dict[str, Row] = {}
    for file in folder.files:
        if is_other_name(file.name):
            continue
        path = annotations / f"{Path(file.name).stem}.xml"
        try:
            with path.open("rb") as xml:
                found = _NAME_IN_XML.search(xml.read(MAX_XML_BYTES))
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such file, so {file.path} has no label; download the annotations again"
            ) from None
        if found is None:
            raise InputError(f"{path}: contains no object name; download the annotations again")
        rows[Path(file.name).stem] = Row(1, found[1].decode("utf-8", "replace"))
    return FlatLabels(path=annotations, rows=rows)


def _read_text(path: Path) -> dict[str, Row]:
    """The labels from lines `PATH LABEL`, by file name without suffix."""
    rows: dict[str, Row] = {}
    for number, line in text_lines(path):
        if not line.strip():
            continue
        written, text = path_and_label(f"{path}, line {number}", line)
        label = raw_label(text)
        assert label is not None, "the text is not empty"
        _add(rows, path, number, written, Row(number, label, Path(written).name))
    return rows


def _add(rows: dict[str, Row], path: Path, number: int, written: str, row: Row) -> None:
    stem = Path(written).stem
    if stem in rows:
        raise InputError(f"{path}, line {number}: {written} is listed again, first in line {rows[stem].line}")
    rows[stem] = row
