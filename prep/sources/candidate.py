"""What in a folder could be a split, and the folder itself."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .folders.listing import Folder
from .ilsvrc.devkit import Devkit, find_devkit
from .inputs import SourceSplit
from .options import Layout, SourceOptions
from .remarks import Remarks

Read = Callable[[SourceSplit | None], SourceSplit]
"""Reads a split. Takes the source's first split, whose class table this one will get, or None for the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A possible split and how to read it."""

    split: str
    path: Path
    """The file, the folder, or a glob pattern of files."""
    kind: str
    """What it is, for messages."""
    layout: Layout
    """Its name for `--layout`."""
    read: Read
    files: tuple[Path, ...] = ()
    """The packed files, such as tars, that it is read from; empty for other layouts."""


@dataclass(kw_only=True, eq=False)
class SourceFolder:
    """SOURCE and what is needed to read it."""

    folder: Folder
    options: SourceOptions
    remarks: Remarks
    around: tuple[Path, ...] = ()
    """The folders in which this is the only one to read, up to what the user passed; files of classes may be there."""

    @property
    def path(self) -> Path:
        """The folder's path."""
        return self.folder.where

    @property
    def class_file_folders(self) -> tuple[Path, ...]:
        """Where files of classes may be, apart from the folder of a split, the nearest folder first."""
        return (self.path, *self.around)

    def only(self, folder: Folder) -> "SourceFolder":
        """The same source, if `folder` is all there is to read in it."""
        return SourceFolder(folder=folder, options=self.options, remarks=self.remarks, around=(self.path, *self.around))

    @cached_property
    def devkit(self) -> Devkit | None:
        """The ILSVRC devkit in the folder, if there is one."""
        return find_devkit(self.path, self.remarks)
