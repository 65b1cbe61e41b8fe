"""ImageNet as Kaggle packs it: class folders of training images, flat validation images, labels beside `ILSVRC/`.

`SOURCE/ILSVRC/Data/CLS-LOC/train/WNID/*.JPEG` and `val/*.JPEG`, with `LOC_val_solution.csv` and
`LOC_synset_mapping.txt` in SOURCE; or SOURCE is the folder `ILSVRC` itself. The unlabeled `test` is not read.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from .ilsvrc import named, split_of
from .inputs import SourceSplit, is_folder, size_of
from .tar_index import Member
from .text_table import csv_rows, text_lines

DATA_FOLDER = Path("Data/CLS-LOC")
MAPPING_NAME = "LOC_synset_mapping.txt"
SOLUTION_NAME = "LOC_val_solution.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class KaggleLayout:
    """Where the images of one download lie, and the folder of its two label files."""

    data: Path
    labels: Path


def find_layouts(folder: Path) -> list[KaggleLayout]:
    """What in `folder` is laid out like Kaggle's download; more than one is for the caller to refuse."""
    found = []
    if (folder / "ILSVRC" / DATA_FOLDER).is_dir():
        found.append(KaggleLayout(data=folder / "ILSVRC" / DATA_FOLDER, labels=folder))
    if (folder / DATA_FOLDER).is_dir():
        beside = folder.absolute().parent  # SOURCE is ILSVRC/, the label files lie beside it
        labels = beside if not (folder / MAPPING_NAME).exists() and (beside / MAPPING_NAME).exists() else folder
        found.append(KaggleLayout(data=folder / DATA_FOLDER, labels=labels))
    return found


def with_mapping(split: SourceSplit, layout: KaggleLayout) -> SourceSplit:
    """Class folders with the names of the mapping; InputError when folders and mapping name different classes."""
    path = layout.labels / MAPPING_NAME
    mapping = _read_mapping(path)
    ids = {entry.id for entry in split.classes}
    unknown = sorted(ids - mapping.keys())
    if unknown:
        raise InputError(f"{path}: lacks {unknown[0]}, a class folder in {layout.data / split.name}")
    for class_id, (line, _) in mapping.items():
        if class_id not in ids:
            raise InputError(
                f"{path}, line {line}: {class_id} has no folder in {layout.data / split.name}; "
                "the download is not complete"
            )
    return named(split, {class_id: words for class_id, (_, words) in mapping.items()})


def read_validation_images(layout: KaggleLayout) -> SourceSplit:
    """The flat validation images, labeled by the solution file.

    InputError names file and line: an image without a row, a row without an image or with a class that the mapping
    lacks, an image twice.
    """
    mapping = _read_mapping(layout.labels / MAPPING_NAME)
    solution = layout.labels / SOLUTION_NAME
    rows = _read_solution(solution, mapping)
    by_class: dict[str, list[tuple[str, Member]]] = {}
    with os.scandir(layout.data / "val") as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            _, class_id = rows.pop(Path(entry.name).stem, (0, ""))
            if not class_id or is_folder(entry):
                raise InputError(f"{entry.path}: has no row in {solution}; expected the flat images that it lists")
            by_class.setdefault(class_id, []).append((entry.path, Member(entry.name, 0, size_of(entry))))
    for image, (line, _) in rows.items():
        raise InputError(
            f"{solution}, line {line}: {image} is not in {layout.data / 'val'}; the download is not complete"
        )
    return named(split_of("val", by_class), {class_id: words for class_id, (_, words) in mapping.items()})


def _read_mapping(path: Path) -> dict[str, tuple[int, str]]:
    """Line number and name of every WordNet id."""
    _require(path)
    mapping: dict[str, tuple[int, str]] = {}
    for number, line in text_lines(path):
        class_id, _, words = line.strip().partition(" ")
        if not class_id:
            continue
        if not words:
            raise InputError(f"{path}, line {number}: {line.strip()!r}; expected a WordNet id and a name")
        if class_id in mapping:
            raise InputError(f"{path}, line {number}: {class_id} again, first in line {mapping[class_id][0]}")
        mapping[class_id] = number, words.strip()
    return mapping


def _read_solution(path: Path, mapping: dict[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
    """Line number and WordNet id of every image id."""
    _require(path)
    rows: dict[str, tuple[int, str]] = {}
    for number, row in csv_rows(path, ("ImageId", "PredictionString")):
        image, class_id = row["ImageId"], row["PredictionString"].partition(" ")[0]
        if class_id not in mapping:
            raise InputError(f"{path}, line {number}: {image} has class {class_id!r}, which {MAPPING_NAME} lacks")
        if image in rows:
            raise InputError(f"{path}, line {number}: {image} again, first in line {rows[image][0]}")
        rows[image] = number, class_id
    return rows


def _require(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file; it comes with Kaggle's download and lies beside ILSVRC/: put it there")
