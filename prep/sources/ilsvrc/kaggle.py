"""ImageNet as Kaggle packs it: class folders of training images, flat validation images, labels beside `ILSVRC/`.

`SOURCE/ILSVRC/Data/CLS-LOC/train/WNID/*.JPEG` and `val/*.JPEG`, with `LOC_val_solution.csv` and
`LOC_synset_mapping.txt` in SOURCE; or SOURCE is `ILSVRC`, `Data` or `CLS-LOC` itself. The archive of 2019 has neither
file; its validation images are labeled by `Annotations/CLS-LOC/val/*.xml`. The `test` images have no labels.
"""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from ....errors import InputError
from ..folders.class_folders import read_class_folders
from ..folders.flat import FlatLabels, read_flat
from ..folders.flat_labels import SOLUTION_NAME, read_solution, read_xml_labels
from ..folders.listing import Folder
from ..inputs import SourceSplit
from ..labels import with_names
from ..lists.text_table import text_lines
from ..options import SourceOptions

DATA_FOLDER = Path("Data/CLS-LOC")
ANNOTATIONS_FOLDER = Path("Annotations/CLS-LOC")
MAPPING_NAME = "LOC_synset_mapping.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class KaggleLayout:
    """Where the parts of one download are."""

    ilsvrc: Path
    """The folder `ILSVRC`, which holds `Data/CLS-LOC` and `Annotations`."""
    data: Path
    """The folder that holds `train`, `val` and `test`."""
    labels: Path
    """The folder of the two label files."""


def find_layouts(folder: Path) -> list[KaggleLayout]:
    """What in `folder` is laid out like Kaggle's download; the caller must refuse more than one."""
    found = []
    if (folder / "ILSVRC" / DATA_FOLDER).is_dir():
        found.append(KaggleLayout(ilsvrc=folder / "ILSVRC", data=folder / "ILSVRC" / DATA_FOLDER, labels=folder))
    # SOURCE is ILSVRC/, Data/ or CLS-LOC/; the label files are beside ILSVRC/ or in it.
    inner = folder.absolute()
    for outer, rest in ((inner, DATA_FOLDER), (inner.parent, Path("CLS-LOC")), (inner.parent.parent, Path())):
        if (inner / rest).is_dir() and outer / DATA_FOLDER == inner / rest:
            is_beside = any((outer.parent / name).exists() for name in (MAPPING_NAME, SOLUTION_NAME))
            labels = outer.parent if is_beside and not (outer / MAPPING_NAME).exists() else outer
            found.append(KaggleLayout(ilsvrc=outer, data=folder / rest, labels=labels))
    return found


def refuse_zipped_kaggle(folder: Folder) -> None:
    """Raise InputError, with advice, for Kaggle's download in a zip file, where its label files cannot be read."""
    inner = folder
    for name in ("ILSVRC", *DATA_FOLDER.parts):
        if name not in inner.folders:
            return
        inner = inner.child(name)
    raise InputError(
        f"{folder.where}: Kaggle's download of ILSVRC, which cannot be read from its zip; unpack it (unzip "
        f"{quote(folder.where.name)} -d FOLDER) and pass FOLDER"
    )


def read_train(layout: KaggleLayout, folder: Folder, options: SourceOptions) -> SourceSplit:
    """Class folders with the names of the mapping; raises InputError if folders and mapping have different classes."""
    split = read_class_folders(folder, "train", options)
    path = layout.labels / MAPPING_NAME
    mapping = _mapping_or_note(layout, folder)
    if mapping is None:
        return split
    ids = {entry.id for entry in split.classes}
    unknown = sorted(ids - mapping.keys())
    if unknown:
        raise InputError(f"{path}: lacks {unknown[0]}, a class folder in {folder.where}; move the folder away")
    for class_id, (line, _) in mapping.items():
        if class_id not in ids:
            raise InputError(
                f"{path}, line {line}: {class_id} has no folder in {folder.where}; the download is not complete"
            )
    return with_names(split, {class_id: words for class_id, (_, words) in mapping.items()})


def read_validation(layout: KaggleLayout, folder: Folder, options: SourceOptions) -> SourceSplit:
    """The flat validation images, labeled by the solution file or by XML annotations.

    Raises InputError, naming file and line, for an image without a row, a row without an image or with a class that the
    mapping lacks, and an image that is listed twice.
    """
    solution, annotations = layout.labels / SOLUTION_NAME, layout.ilsvrc / ANNOTATIONS_FOLDER / "val"
    mapping = _mapping_or_note(layout, folder)
    if solution.is_file():
        folder.remarks.used.add(str(solution))
        labels = FlatLabels(path=solution, rows=read_solution(solution))
    elif annotations.is_dir():
        labels = read_xml_labels(folder, annotations)
    else:
        raise InputError(
            f"{solution}: no such file; it comes with Kaggle's download, beside ILSVRC/: put it there, or the XML "
            f"annotations in {annotations}"
        )
    if mapping is not None:
        for image, (line, label, _) in labels.rows.items():
            if label not in mapping:
                raise InputError(
                    f"{labels.path}, line {line}: {image} has class {label!r}, which {MAPPING_NAME} lacks; take "
                    "both files from the same download"
                )
    split = read_flat(folder, "val", labels, options)
    return with_names(split, {class_id: words for class_id, (_, words) in (mapping or {}).items()})


def _mapping_or_note(layout: KaggleLayout, folder: Folder) -> dict[str, tuple[int, str]] | None:
    path = layout.labels / MAPPING_NAME
    if path.is_file():
        folder.remarks.used.add(str(path))
        return _read_mapping(path)
    folder.remarks.note(f"{path}: no such file, so classes are named by their ids; it comes with Kaggle's download")
    return None


def _read_mapping(path: Path) -> dict[str, tuple[int, str]]:
    """Line number and name of every WordNet id."""
    mapping: dict[str, tuple[int, str]] = {}
    for number, line in text_lines(path):
        class_id, _, words = line.strip().partition(" ")
        if not class_id:
            continue
        if not words:
            raise InputError(f"{path}, line {number}: {line.strip()!r}; expected a WordNet id and a name")
        if class_id in mapping:
            raise InputError(f"{path}, line {number}: {class_id} is listed again, first in line {mapping[class_id][0]}")
        mapping[class_id] = number, words.strip()
    return mapping
