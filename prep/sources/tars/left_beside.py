"""Recognizes archives that were unpacked where they are, and so hold nothing that is not beside them."""

from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path

from ....errors import InputError
from ..known_formats import COMPRESSED
from ..litter import is_hidden
from ..options import SourceOptions
from ..split_names import split_in
from .tar_index import members_of, plain_name

_FIRST_MEMBERS = 50


def without_unpacked(files: Sequence[Path], folders: Collection[str], options: SourceOptions) -> tuple[Path, ...]:
    """The files except tars that unpack into a folder of their own name, if `folders`, which are beside them, has it.

    All files if the user chose to read tars.
    """
    if options.layout in ("webdataset", "class-tars"):
        return tuple(files)
    return tuple(path for path in files if path.suffix != ".tar" or path.stem not in folders or not _unpacks(path))


def _unpacks(path: Path) -> bool:
    """Whether a tar unpacks into a folder of its own name."""
    try:
        names = [plain_name(member.name) for member in islice(members_of(path), _FIRST_MEMBERS)]
    except InputError:
        return False
    names = [name for name in names if not is_hidden(name)]
    return bool(names) and all(name.startswith(f"{path.stem}/") for name in names)


def refuse_compressed_among(folder: Path, split: str | None) -> None:
    """Raise InputError for compressed tars of a split (None: of any) among plain ones, since they would be missed."""
    for path in sorted(folder.glob("*.tar.*")):
        unpacked = path.with_suffix("")
        is_of_split = split is None or (split_in(path.name) or ("",))[0] == split
        is_unpacked = unpacked.exists() or unpacked.with_suffix("").is_dir()
        if path.suffix in COMPRESSED and "devkit" not in path.name and is_of_split and not is_unpacked:
            raise InputError(
                f"{path}: a compressed tar beside tars of the same split; unpack it in place "
                f"({COMPRESSED[path.suffix]})"
            )
