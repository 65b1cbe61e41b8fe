"""Finds where relative paths of a list start: in the list's folder, one that the user names, or one beside the list.

Many lists, those of Kaggle's competitions among them, name images that are in a folder beside the list, often by an id
without the file's extension: `labels.csv` holds `000bec18,beagle` and the image is `train/000bec18.jpg`.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from unicodedata import normalize

from ....errors import InputError
from ...storage import StoreUrl, parse_location
from ..litter import is_image_name
from ..remarks import Remarks
from .found_names import FoundNames, extension_of

SAMPLE_ROWS = 20
"""Number of first rows whose images are looked for in the list's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRoot:
    """How a relative path becomes one that can be opened."""

    names: FoundNames
    """What exists where the paths start."""
    prefix: str = ""
    """A folder in `start`, ending with a slash, or nothing."""
    extensions: tuple[str, ...] = ()
    """The extensions that paths of the sample lack, the most frequent first."""

    @property
    def start(self) -> Path | StoreUrl:
        """The folder or URL that a completed path is joined to."""
        return self.names.start

    def complete(self, written: str) -> str:
        """A path of the list as one that starts at `start`: in the folder, with slashes and with an extension.

        A missing image gets the most frequent extension. Raises InputError if the path leads out of `start`, or if
        several images have it as their name.
        """
        spellings = [f"{self.prefix}{one}" for one in _spellings(self.names, written)]
        for path in spellings:
            if _leaves(path):
                raise InputError(f"{written} leads out of {self.start}; if intended, write an absolute path")
            if len(spellings) == 1 and is_image_name(path):
                return path
            found = self.names.find(path)
            if len(found) > 1:
                raise InputError(
                    f"{written} may be {' or '.join(found[:2])} in {self.start}; write the extension in the list"
                )
            if found:
                return found[0]
        path = spellings[0].replace("\\", "/")
        return path if is_image_name(path.strip()) else f"{path}{next(iter(self.extensions), '')}"

    def refuse_cut(self, written: str) -> None:
        """Raise InputError if only the first word of a path names an image: the others are of the label."""
        first, space, _ = written.partition(" ")
        if space and not is_image_name(written) and not self._is_there(written) and self._is_there(first):
            raise InputError(
                f"{written!r} is not there, but {first!r} is; if labels contain spaces, put a tab before each, for "
                "example with sed 's/ /\\t/' LIST > NEW_LIST"
            )

    def _is_there(self, written: str) -> bool:
        return any(self.names.find(f"{self.prefix}{one}") for one in _spellings(self.names, written))

    def __str__(self) -> str:
        return f"{self.start / self.prefix.rstrip('/')}" + (
            f", and {' or '.join(self.extensions)} is appended to paths without an extension" if self.extensions else ""
        )


def image_root(
    path: Path, rows: Callable[[], Iterator[str]], given: str | None, base: StoreUrl | None, remarks: Remarks
) -> ImageRoot:
    """Find where the relative paths of a list start.

    Args:
        path: The list.
        rows: Yields its relative paths.
        given: The folder or URL that the user named.
        base: The URL of the folder of a list in a store, of which `path` is a copy.
        remarks: Receives a note if it is not the list's own folder.

    Raises InputError if there is no such folder, and if the images are in several folders beside the list.
    """
    start: Path | StoreUrl = path.parent if base is None else base
    sample = list(islice(rows(), SAMPLE_ROWS))
    if given is not None:
        start = parse_location(given)
        if isinstance(start, Path) and not start.is_dir():
            raise InputError(f"--image-root {given}: no such folder; pass the folder where the paths of {path} start")
        sample = [one for one in sample if not is_image_name(one.strip())]  # there is nothing to find about the others
    names = FoundNames(start)
    found = _found_in(names, sample, "")
    prefix = ""
    if sample and not found and given is None:
        sample = _spread(rows())  # a list may be sorted by folder
        prefix, found = _only_folder(path, names, sample)
    counts = Counter(
        extension_of(one) for row, one in found.items() if is_image_name(one) and not is_image_name(sample[row].strip())
    )
    root = ImageRoot(names=names, prefix=prefix, extensions=tuple(extension for extension, _ in counts.most_common()))
    if prefix or counts:
        remarks.note(f"{path}: its images are in {root}")
    return root


def _spread(rows: Iterable[str]) -> list[str]:
    """The first row and others at even distances, at most twice `SAMPLE_ROWS`."""
    sample: list[str] = []
    step = 1
    for number, row in enumerate(rows):
        if number % step == 0:
            sample.append(row)
            if len(sample) > 2 * SAMPLE_ROWS:
                sample, step = sample[::2], 2 * step
    return sample


def _only_folder(path: Path, names: FoundNames, sample: Sequence[str]) -> tuple[str, dict[int, str]]:
    """The folder beside the list that has images of the sample, ending with a slash, and the images by row."""
    best, images = "", dict[int, str]()
    several = ""
    for name in names.folders():
        for prefix in (f"{name}/", f"{name}/{name}/"):  # train/train/, as some archives unpack
            if found := _found_in(names, sample, prefix):
                break
            names.forget()
        else:
            continue
        if same := sorted(found.keys() & images):
            raise InputError(
                f"{path}: its images may be {names.start}/{images[same[0]]} and {names.start}/{found[same[0]]}; choose "
                "their folder with --image-root"
            )
        if images and not several:
            several = f"{names.start}/{next(iter(images.values()))} and {names.start}/{next(iter(found.values()))}"
        images |= found
        best = prefix
    if several:
        raise InputError(
            f"{path}: its images are in several folders, e.g. {several}; write the folder in every path of the list, "
            "or move the images into one folder"
        )
    return best, images


def _found_in(names: FoundNames, sample: Sequence[str], prefix: str) -> dict[int, str]:
    """The images of the sample in a folder, by row."""
    found: dict[int, str] = {}
    for row, written in enumerate(sample):
        for path in (f"{prefix}{one}" for one in _spellings(names, written)):
            if row not in found and not _leaves(path) and (images := names.find(path)):
                found[row] = images[0]
    return found


def _spellings(names: FoundNames, written: str) -> list[str]:
    """What a path may mean: as written, with backslashes as slashes, without spaces around it, and in NFC or NFD.

    In stores, where trying takes a request, there is one: with slashes and without spaces.
    """
    plain = written.replace("\\", "/").strip() or written
    if isinstance(names.start, StoreUrl):
        return [plain]
    if written.isascii() and plain == written:
        return [written]
    some = (written, written.replace("\\", "/"), plain)
    return list(dict.fromkeys([*some, *(normalize(form, one) for one in some for form in ("NFC", "NFD"))]))


def _leaves(path: str) -> bool:
    """Whether a relative path leads out of the folder where it starts."""
    return os.pardir in Path(os.path.normpath(path)).parts
