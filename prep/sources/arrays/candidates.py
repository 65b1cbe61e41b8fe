"""The splits that arrays in the files of a folder form."""

from collections.abc import Iterator, Sequence
from functools import partial
from os.path import commonprefix
from pathlib import Path

from ....errors import InputError
from ..candidate import Candidate, SourceFolder
from ..folders.listing import Folder
from ..inputs import SourceSplit
from .formats import arrays_in
from .rows import Found


def array_candidates(source: SourceFolder) -> Iterator[Candidate]:
    """The splits in the files of SOURCE itself; none in a zip file, whose members cannot be read by offset."""
    folder = source.folder
    if not folder.where.is_dir():
        return
    found = arrays_in(folder)
    if (folder.folders or folder.has_images()) and source.options.layout != "npz":
        found = [one for one in found if one.layout != "npz"]  # arrays beside images are about them
    for layout in ("idx", "npz"):
        _refuse_several(folder, [one for one in found if one.layout == layout])
    for one in found:
        for split, names in one.files.items():
            files = tuple(folder.where / name for name in names)
            together = commonprefix(names)  # noqa: RUF071 - of names, not of paths
            yield Candidate(
                split=split,
                path=folder.where / (f"{together}*" if len(names) > 1 else together),
                kind=one.kind,
                layout=one.layout,
                read=partial(_read, one, folder.where, split, source),
                files=files,
            )


def _refuse_several(folder: Folder, several: Sequence[Found]) -> None:
    """Raise InputError for data sets whose files are beside each other, as those of EMNIST."""
    if len(several) > 1:
        examples = ", ".join(next(iter(one.files.values()))[0] for one in several)
        raise InputError(
            f"{folder.where}: files of several data sets, e.g. {examples}; move those of one of them into a folder of "
            "their own and pass that"
        )


def _read(one: Found, folder: Path, split: str, source: SourceFolder, _: SourceSplit | None) -> SourceSplit:
    return one.read(folder, split, source.options, source.remarks)
