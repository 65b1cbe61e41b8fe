"""A tree of folders, each listed once, on disk or in a zip file, without hidden and system files."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from ...storage import StoreUrl
from ..inputs import Extra, is_folder, size_of
from ..litter import is_annotation_name, is_image_name, is_other_name, is_system
from ..remarks import Remarks
from .beside import Beside
from .files import DiskFile, File

SET_MARK, RUN_MARK = "manifest.json", ".unfinished"
"""Names that mark a shard set, and a folder with the sets of an unfinished run."""


class Listing(NamedTuple):
    """The contents of a folder, sorted by name."""

    folders: tuple[str, ...]
    files: tuple[File, ...]


@dataclass(kw_only=True, slots=False, eq=False)
class Folder:
    """A folder that is listed on first access; what is left out is added to `remarks`."""

    where: Path
    """The folder's path; in a zip file, the path of the zip file followed by the path in it."""
    remarks: Remarks
    out: Path | None = None
    """A folder below this one to leave out, because shard sets are written there."""
    parent: "Folder | None" = field(default=None, repr=False)
    """The folder through which it was reached."""
    children: dict[str, "Folder"] = field(default_factory=dict)
    beside: dict[frozenset[str], Beside] = field(default_factory=dict)
    """The files beside images, by the extensions that were requested."""

    @cached_property
    def listing(self) -> Listing:
        """The folder's contents on disk."""
        folders, files = [], []
        with os.scandir(self.where) as entries:
            for entry in entries:
                name = entry.name
                if is_system(name):
                    self.remarks.pass_over("hidden and system files", entry.path)
                elif is_folder(entry):
                    if entry.is_symlink() and self._is_above(Path(entry.path)):
                        self.remarks.pass_over("links to a folder that holds them", entry.path)
                    elif self._is_output(Path(entry.path)):
                        self.remarks.pass_over("folders of shard sets", entry.path)
                    else:
                        folders.append(name)
                else:
                    files.append(DiskFile(name, entry.path, size_of(entry)))
        files.sort(key=itemgetter(0))
        return Listing(tuple(sorted(folders)), tuple(files))

    def _is_above(self, link: Path) -> bool:
        """Whether `link` leads to this folder or one that contains it, so that following it would never end."""
        if self.where.resolve().is_relative_to(link.resolve()):
            return True
        folder = self.parent
        while folder is not None and not folder.where.samefile(link):
            folder = folder.parent
        return folder is not None

    def _is_output(self, folder: Path) -> bool:
        """Whether `folder` contains shard sets of `alexprep`, or will."""
        if self.out is not None and folder.resolve() == self.out:
            return True
        names = (RUN_MARK, *(f"{split}/{SET_MARK}" for split in ("train", "val", "test")))
        return any((folder / name).exists() for name in names)

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders in it."""
        return self.listing.folders

    @property
    def files(self) -> tuple[File, ...]:
        """The files in it."""
        return self.listing.files

    @property
    def store_url(self) -> StoreUrl | None:
        """Its URL, if it is in a store."""
        return None

    def child(self, name: str) -> "Folder":
        """The folder `name` in it."""
        if name not in self.children:
            self.children[name] = Folder(where=self.where / name, remarks=self.remarks, out=self.out, parent=self)
        return self.children[name]

    def forget(self, name: str) -> None:
        """Drop the listing of the folder `name` to free memory; it would be listed again on the next access."""
        self.children.pop(name, None)

    def images(self, beside: Sequence[str] = ()) -> Iterator[File]:
        """The files that may be images; those whose names show that they are not are passed over and counted.

        Files with an extension in `beside` and the stem of an image belong to that image and are neither.
        """
        used, kept = self.remarks.used, self._kept_beside(beside) if beside else None
        for file in self.files:
            if (used and file.path in used) or (kept is not None and kept.has(file)):
                continue
            if is_other_name(file.name):
                self.remarks.pass_over("non-image files beside images", file.path)
            else:
                yield file

    def has_images(self) -> bool:
        """Whether any file has an image extension."""
        return any(is_image_name(file.name) for file in self.files)

    def holds_no_images(self) -> bool:
        """Whether it has contents, and the names of all files in it and below are those of annotations."""
        if not all(is_annotation_name(file.name) for file in self.files):
            return False
        inner = map(self.child, self.folders)
        return bool(self.files or self.folders) and all(folder.holds_no_images() for folder in inner)

    def files_beside(self, file: File, keep: Sequence[str]) -> tuple[Extra, ...]:
        """The files that have the stem of `file` and an extension in `keep`: `1.txt` beside `1.jpg`."""
        return self._kept_beside(keep).of(file) if keep else ()

    def _kept_beside(self, keep: Sequence[str]) -> Beside:
        wanted = frozenset(map(str.casefold, keep))
        if wanted not in self.beside:
            self.beside[wanted] = Beside(self.files, wanted)
        return self.beside[wanted]

    def has(self, name: str) -> bool:
        """Whether it contains a file `name`."""
        return any(file.name == name for file in self.files)
