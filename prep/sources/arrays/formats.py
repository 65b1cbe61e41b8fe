"""All formats of arrays, and which of them a folder holds, by the names of its files."""

from collections.abc import Collection

from ..folders.listing import Folder
from . import cifar, idx, npz, stl10
from .rows import Found

_FORMATS = (cifar.recognize, idx.recognize, npz.recognize, stl10.recognize)


def arrays_among(names: Collection[str]) -> list[Found]:
    """The formats of arrays that a folder of files with these names holds."""
    return [found for recognize in _FORMATS for found in recognize(names)]


def holds_arrays(folder: Folder) -> bool:
    """Whether the folder itself holds a data set in arrays."""
    return bool(arrays_among({file.name for file in folder.files}))
