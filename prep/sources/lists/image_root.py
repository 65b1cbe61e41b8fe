"""Finds where relative paths of a list start: in the list's folder, one that the user names, or one beside the list.

Many lists, those of Kaggle's competitions among them, name images that are in a folder beside the list, often by an id
without the file's extension: `labels.csv` holds `000bec18,beagle` and the image is `train/000bec18.jpg`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....errors import InputError
from ...storage import StoreUrl, parse_location
from ..litter import is_image_name, is_system
from ..remarks import Remarks

SAMPLE_ROWS = 20
"""Number of rows whose images are looked for."""
_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".JPEG", ".JPG", ".PNG", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRoot:
    """How a relative path becomes one that can be opened."""

    start: Path | StoreUrl
    """The folder or URL that the path is joined to."""
    prefix: str = ""
    """A folder in `start`, ending with a slash, or nothing."""
    extension: str = ""
    """An extension that is appended to paths without the extension of an image, or nothing."""

    def complete(self, written: str) -> str:
        """A path of the list as one that starts at `start`."""
        return f"{self.prefix}{written}{'' if is_image_name(written) else self.extension}"

    def __str__(self) -> str:
        extension = f", and {self.extension} is appended to paths without an extension" if self.extension else ""
        return f"{self.start / self.prefix.rstrip('/')}{extension}"


def image_root(
    path: Path, sample: Sequence[str], given: str | None, base: StoreUrl | None, remarks: Remarks
) -> ImageRoot:
    """Find where the relative paths of a list start.

    Args:
        path: The list.
        sample: Some of its relative paths.
        given: The folder or URL that the user named.
        base: The URL of the folder of a list in a store, of which `path` is a copy.
        remarks: Receives a note if it is not the list's own folder.

    Raises InputError if there is no such folder, and if the images are in several folders beside the list.
    """
    if given is not None:
        start = parse_location(given)
        if isinstance(start, Path) and not start.is_dir():
            raise InputError(f"--image-root {given}: no such folder; pass the folder where the paths of {path} start")
    elif base is not None:
        start = base
    else:
        start = path.parent
    if isinstance(start, StoreUrl) or not sample:
        return ImageRoot(start=start)
    roots = list(_roots(start, sample, in_folders=given is None))
    counts = [sum((start / one.complete(name)).exists() for name in sample) for one in roots]
    best = [one for one, count in zip(roots, counts, strict=True) if count == max(counts)]
    if counts[0] == max(counts):  # as written; or no image is found, which is an error of each path
        return roots[0]
    if len(best) > 1:
        places = " and ".join(f"{start}/{one.complete(sample[0])}" for one in best[:2])
        raise InputError(f"{path}: its images may be {places}; choose their folder with --image-root")
    remarks.note(f"{path}: its images are in {best[0]}")
    return best[0]


def _roots(start: Path, sample: Sequence[str], *, in_folders: bool) -> Iterator[ImageRoot]:
    """All possible roots, first the one for paths as written."""
    folders = sorted(entry.name for entry in os.scandir(start) if entry.is_dir() and not is_system(entry.name))
    extensions = ("", *(() if all(map(is_image_name, sample)) else _EXTENSIONS))
    for prefix in ("", *(f"{name}/" for name in folders if in_folders)):
        for extension in extensions:
            yield ImageRoot(start=start, prefix=prefix, extension=extension)
