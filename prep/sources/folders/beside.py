"""Files that are kept with an image because they lie beside it under its stem: `1.txt` and `1.mask.png` of `1.jpg`.

The stem of an image is its name up to the last dot, else up to the first: `a.1.jpg` has `a.1.txt` and, without that,
`a.txt`.
"""

from collections.abc import Iterable, Iterator

from ..extras import checked_ext
from ..inputs import Extra
from ..litter import is_other_name
from .files import File


class Beside:
    """The files of a folder whose extensions are to be kept, by their stems."""

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
        """Whether `file` belongs to an image, and is none itself."""
        return any(stem in self._stems_of_images for stem, _ in self._readings(file.name))

    def of(self, file: File) -> tuple[Extra, ...]:
        """What is kept with an image, sorted by extension."""
        found: dict[str, File] = {}
        for stem in _stems(file.name):
            found = {**self._by_stem.get(stem, {}), **found}
        own = tuple(ext for _, ext in self._readings(file.name))
        return tuple(sorted(other.extra(checked_ext(ext)) for ext, other in found.items() if ext not in own))

    def _readings(self, name: str) -> Iterator[tuple[str, str]]:
        """Stem and extension, for each extension that is to be kept and that the name ends in."""
        small = name.casefold()
        if small.endswith(self._ends):
            for end in self._ends:
                if small.endswith(end):
                    yield name[: -len(end)], end[1:]


def _stems(name: str) -> tuple[str, str]:
    return name.rpartition(".")[0] or name, name.partition(".")[0]
