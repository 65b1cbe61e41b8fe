"""Files that are stored with an image because they are beside it and share its stem: `1.txt`, `1.mask.png` for `1.jpg`.

The stem of an image is its name up to the last dot or, failing that, up to the first: `a.1.jpg` has `a.1.txt` or,
without that file, `a.txt`.
"""

from collections.abc import Iterable, Iterator

from ..extras import checked_ext
from ..inputs import Extra
from ..litter import is_other_name
from .files import File


class Beside:
    """The files of a folder that have an extension to keep, by stem."""

    def __init__(self, files: Iterable[File], wanted: frozenset[str]) -> None:
        self._ends = tuple(f".{ext}" for ext in sorted(wanted))
        self._by_stem: dict[str, dict[str, File]] = {}
        self._stems_of_images: set[str] = set()
        for file in files:
            is_wanted = False
            for stem, ext in self._readings(file.name):
                is_wanted = True
                self._by_stem.setdefault(stem, {})[ext] = file
            if not is_wanted and not is_other_name(file.name):
                self._stems_of_images.update(_stems(file.name))

    def has(self, file: File) -> bool:
        """Whether `file` belongs to an image and is not one itself."""
        return any(stem in self._stems_of_images for stem, _ in self._readings(file.name))

    def of(self, file: File) -> tuple[Extra, ...]:
        """The extras of an image, sorted by extension."""
        found: dict[str, File] = {}
        for stem in _stems(file.name):
            found = {**self._by_stem.get(stem, {}), **found}
        own = tuple(ext for _, ext in self._readings(file.name))
        return tuple(sorted(other.extra(checked_ext(ext)) for ext, other in found.items() if ext not in own))

    def _readings(self, name: str) -> Iterator[tuple[str, str]]:
        """Stem and extension, for each extension to keep that the name ends in."""
        small = name.casefold()
        if small.endswith(self._ends):
            for end in self._ends:
                if small.endswith(end):
                    yield name[: -len(end)], end[1:]


def _stems(name: str) -> tuple[str, str]:
    return name.rpartition(".")[0] or name, name.partition(".")[0]
