"""Finds the files that paths of a list may mean, below a folder or a URL; every folder is listed at most once.

What is missing or forbidden is not found; other errors of the disk or the store are raised.
"""

import os
import sys
from pathlib import Path, PurePosixPath

from ....errors import InputError
from ...storage import CredentialsError, ObjectStore, StoreUrl
from ..inputs import OWN_FAULTS, is_folder
from ..litter import is_image_name, is_system

MAX_STORE_FOLDERS = 100
"""Among more folders than this in a store, none is looked into, since that takes requests for each."""
_USUAL_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".JPEG", ".JPG", ".PNG", ".bmp", ".gif", ".tif", ".tiff")


def extension_of(path: str) -> str:
    """The extension of an image, with its dot; empty for other names."""
    return sys.intern("".join(path.rpartition(".")[1:])) if is_image_name(path) else ""


class FoundNames:
    """What exists below `start`; all paths are relative to it."""

    def __init__(self, start: Path | StoreUrl) -> None:
        self.start = start
        # By folder and by name without an image extension: the extensions. None for a folder that cannot be listed.
        self._listings: dict[str, dict[str, tuple[str, ...]] | None] = {}

    def folders(self) -> list[str]:
        """The folders directly in `start`, sorted; none if it cannot be listed or is in a store and has very many."""
        if isinstance(self.start, StoreUrl):
            try:
                names = [name for name in ObjectStore(self.start).list_folder()[0] if not is_system(name)]
            except CredentialsError:
                raise
            except (InputError, FileNotFoundError, PermissionError):
                return []
            return names if len(names) <= MAX_STORE_FOLDERS else []
        try:
            with os.scandir(self.start) as entries:
                return sorted(entry.name for entry in entries if not is_system(entry.name) and is_folder(entry))
        except OSError as error:
            _raise_if_not_own(error)
            return []

    def find(self, path: str) -> list[str]:
        """The file at `path` or, if there is none and `path` has no image extension, those it has with one."""
        if is_image_name(path):
            return [path] if self._is_file(path) else []
        folder, _, name = path.rpartition("/")
        if folder not in self._listings:
            self._listings[folder] = self._list(folder)
        listing = self._listings[folder]
        if listing is None:
            exist = (path + extension for extension in ("", *_USUAL_EXTENSIONS) if self._is_file(path + extension))
            found = list({one.casefold(): one for one in exist}.values())  # one file, if case makes no difference there
        else:
            found = [f"{path}{extension}" for extension in listing.get(name, ())]
        return [path] if path in found else found

    def forget(self) -> None:
        """Drop the listings to free memory."""
        self._listings.clear()

    def _is_file(self, path: str) -> bool:
        if isinstance(self.start, StoreUrl):
            try:
                return ObjectStore(self.start / os.path.normpath(path)).exists()
            except CredentialsError:
                raise
            except PermissionError:
                return False
        try:
            return (self.start / path).is_file()
        except ValueError:  # a zero byte
            return False
        except OSError as error:
            _raise_if_not_own(error)
            return False

    def _list(self, folder: str) -> dict[str, tuple[str, ...]] | None:
        found: dict[str, tuple[str, ...]] = {}
        shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        try:
            names = self._files(folder)
        except CredentialsError:
            raise
        except PermissionError:
            return None
        for name in names:
            extension = extension_of(name)
            stem = name.removesuffix(extension)
            extensions = (*found.get(stem, ()), extension)
            found[stem] = shared.setdefault(extensions, extensions)
        return found

    def _files(self, folder: str) -> list[str]:
        """Names of the files in a folder; raises PermissionError if it cannot be listed."""
        if isinstance(self.start, StoreUrl):
            if self.start.scheme in ("http", "https"):
                raise PermissionError
            try:
                listed = ObjectStore(self.start).list_folder(os.path.normpath(folder) if folder else "")[1]
            except FileNotFoundError:
                return []
            return sorted(PurePosixPath(one.name).name for one in listed)
        try:
            with os.scandir(self.start / folder) as entries:
                return sorted(entry.name for entry in entries if not is_folder(entry))
        except ValueError:  # a zero byte
            return []
        except PermissionError:
            raise
        except OSError as error:
            _raise_if_not_own(error)
            return []


def _raise_if_not_own(error: OSError) -> None:
    if error.errno not in OWN_FAULTS:
        raise error
