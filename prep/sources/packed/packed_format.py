"""What a format of packed files must provide to be recognized."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..candidate import Candidate, SourceFolder
from ..folders.listing import Folder


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedFormat:
    """A format whose files hold many images each."""

    kind: str
    """What one of its files is called."""
    is_named: Callable[[str], bool]
    """Whether a file of this name is of the format."""
    suffix: str
    """What all its file names end with; empty if they differ."""
    in_folder: Callable[[Folder, tuple[Path, ...], str, SourceFolder], Iterator[Candidate]]
    """What the files in the folder of a split could be."""
    in_family: Callable[[Path, tuple[Path, ...], str, SourceFolder], Iterator[Candidate]]
    """What files that are named by a split, and match this pattern, could be."""
