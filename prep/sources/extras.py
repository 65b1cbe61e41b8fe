"""Further members, columns and files that are stored with an image on request (`--keep`)."""

import json
import re
from collections.abc import Iterable, Mapping
from unicodedata import normalize

from ...errors import InputError
from ..storage import Location, StoreUrl
from .inputs import Extra, SourceImage

_EXT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
MAX_EXT = 40


SOURCE_NAME = "source"


def root_of(source: Location) -> str:
    """The folder or address below which the files of a source are: itself, or the folder of a list or an archive."""
    return str(source if isinstance(source, StoreUrl) or source.is_dir() else source.parent)


def origin_of(image: SourceImage, root: str) -> str:
    """The path of an image below `root`, and for one that lies in another file after a colon its name in that."""
    container = image.container
    path, file_name = container.removeprefix(f"{root}/"), image.name.rpartition("/")[2]
    if normalize("NFC", container.rpartition("/")[2]) == normalize("NFC", file_name):
        return path
    # Members of a zip are called by their class, as files in folders are.
    return f"{path}:{image.name if container.lower().endswith('.zip') else file_name}"


def source_extra(image: SourceImage, root: str) -> Extra:
    """`source.txt` of an image: what `origin_of` says."""
    content = origin_of(image, root).encode("utf-8", "surrogateescape")
    return Extra(f"{SOURCE_NAME}.txt", content, num_bytes=len(content))


def column_extra(name: str, value: object) -> Extra | None:
    """A value of a column or a JSON key: text becomes `NAME.txt`, bytes `NAME.bin`, all else `NAME.json`; None none."""
    if value is None:
        return None
    if isinstance(value, bytes):
        kind, content = "bin", value
    elif isinstance(value, str):
        kind, content = "txt", value.encode("utf-8", "surrogateescape")
    else:
        kind, content = "json", json.dumps(value, sort_keys=True, default=str).encode()
    return Extra(checked_ext(f"{member_name(name)}.{kind}"), content, num_bytes=len(content))


def member_name(column: str) -> str:
    """What the member of a column is called, without its kind: `image caption` is stored as `image-caption.txt`."""
    return re.sub("[^A-Za-z0-9_-]+", "-", column)


def extensions_of(name: str) -> tuple[str, ...]:
    """The extensions that what `--keep NAME` asks for may be stored under: as a file or member, or as a column."""
    return (name.casefold(), *(f"{member_name(name)}.{kind}" for kind in ("txt", "json", "bin")))


def column_extras(keep: Iterable[str], row: Mapping[str, object]) -> list[Extra]:
    """The columns of `row` that are to be kept and have a value."""
    return [extra for name in keep if (extra := column_extra(name, row.get(name)))]


def checked_ext(ext: str) -> str:
    """`ext`; InputError when it can be no extension of a member in a shard."""
    if len(ext) > MAX_EXT or not _EXT.fullmatch(ext):
        raise InputError(f"--keep: {ext!r} is no extension for a shard; use 1 to {MAX_EXT} letters, digits, _ and -")
    return ext
