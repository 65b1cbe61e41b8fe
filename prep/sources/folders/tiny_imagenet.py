"""Tiny ImageNet as it is downloaded: `train/WNID/images/`, `val/images/` with `val_annotations.txt`, `test/images/`."""

from ....errors import InputError
from ..inputs import SourceSplit
from ..options import SourceOptions
from .class_folders import INNER_FOLDER
from .flat import read_flat
from .flat_labels import TINY_NAME, read_tiny_annotations
from .listing import Folder


def is_annotated(folder: Folder) -> bool:
    """Whether the folder of a split holds `images/` and their annotations."""
    return INNER_FOLDER in folder.folders and folder.has(TINY_NAME)


def read_annotated(folder: Folder, split: str, options: SourceOptions) -> SourceSplit:
    """The split of the images in `images/`, labeled by the annotations; raises InputError like `read_flat`."""
    if folder.folders != (INNER_FOLDER,):
        raise InputError(f"{folder.where}: holds {', '.join(folder.folders)}; expected only {TINY_NAME} and images/")
    return read_flat(folder.child(INNER_FOLDER), split, read_tiny_annotations(folder.where / TINY_NAME), options)
