"""Tiny ImageNet as it is downloaded: `train/WNID/images/`, `val/images/` with `val_annotations.txt`, `test/images/`."""

from pathlib import Path

from ....errors import InputError
from ..inputs import SourceSplit
from ..lists.text_table import text_lines
from ..options import SourceOptions
from ..remarks import Remarks
from .class_folders import INNER_FOLDER
from .flat import read_flat
from .flat_labels import TINY_NAME, read_tiny_annotations
from .listing import Folder

WORDS_NAME, IDS_NAME = "words.txt", "wnids.txt"


def is_annotated(folder: Folder) -> bool:
    """Whether the folder of a split holds `images/` and their annotations."""
    return INNER_FOLDER in folder.folders and folder.has(TINY_NAME)


def read_annotated(folder: Folder, split: str, options: SourceOptions) -> SourceSplit:
    """The split of the images in `images/`, labeled by the annotations; raises InputError like `read_flat`."""
    if folder.folders != (INNER_FOLDER,):
        raise InputError(f"{folder.where}: holds {', '.join(folder.folders)}; expected only {TINY_NAME} and images/")
    return read_flat(folder.child(INNER_FOLDER), split, read_tiny_annotations(folder.where / TINY_NAME), options)


def class_names(source: Path, remarks: Remarks) -> dict[str, str]:
    """Readable class names by class id, from `words.txt` beside `wnids.txt`; empty without them."""
    path = source / WORDS_NAME
    if not path.is_file() or not (source / IDS_NAME).is_file():
        return {}
    remarks.used.update((str(path), str(source / IDS_NAME)))
    rows = (line.rstrip("\r\n").partition("\t") for _, line in text_lines(path))
    return {class_id: words for class_id, _, words in rows if words}
