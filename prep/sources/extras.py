"""Additional members, columns and files that are stored with an image on request (`--keep`)."""

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
    """The folder or URL that contains a source's files: the source itself, or the folder of a list or archive."""
    return str(source if isinstance(source, StoreUrl) or source.is_dir() else source.parent)


def origin_of(image: SourceImage, root: str) -> str:
    """The path of an image relative to `root`; inside another file, that file's path, a colon and the name in it."""
    container = image.container
    path, file_name = container.removeprefix(f"{root}/"), image.name.rpartition("/")[2]
    if normalize("NFC", container.rpartition("/")[2]) == normalize("NFC", file_name):
        return path
    # Members of a zip are named CLASS/FILE, like files in folders.
    return f"{path}:{image.name if container.lower().endswith('.zip') else file_name}"


def source_extra(image: SourceImage, root: str) -> Extra:
    """`source.txt` of an image: its `origin_of`."""
    content = origin_of(image, root).encode("utf-8", "surrogateescape")
    return Extra(f"{SOURCE_NAME}.txt", content, num_bytes=len(content))


def column_extra(name: str, value: object) -> Extra | None:
    """A column's or JSON key's value: text as `NAME.txt`, bytes as `NAME.bin`, others as `NAME.json`; None for None."""
    if value is None:
        return None
    if isinstance(value, bytes):
        kind, content = "bin", value
    elif isinstance(value, str):
        try:
            kind, content = "txt", value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can express: "\\ud800"
            raise InputError(f"--keep: {name} is {value[:40]!a}, which is not valid Unicode; correct it") from None
    else:
        kind, content = "json", json.dumps(value, sort_keys=True, default=str).encode()
    return Extra(checked_ext(f"{member_name(name)}.{kind}"), content, num_bytes=len(content))


def member_name(column: str) -> str:
    """The name of a column's member, without extension: `image caption` is stored as `image-caption.txt`."""
    return re.sub("[^A-Za-z0-9_-]+", "-", column)


def extensions_of(name: str) -> tuple[str, ...]:
    """The extensions that `--keep NAME` may be stored under: that of a file or member, or those of a column."""
    return (name.casefold(), *(f"{member_name(name)}.{kind}" for kind in ("txt", "json", "bin")))


def column_extras(keep: Iterable[str], row: Mapping[str, object]) -> list[Extra]:
    """The columns of `row` that are listed in `keep` and have a value."""
    return [extra for name in keep if (extra := column_extra(name, row.get(name)))]


def checked_ext(ext: str) -> str:
    """Return `ext`; raises InputError if it cannot be the extension of a shard member."""
    if len(ext) > MAX_EXT or not _EXT.fullmatch(ext):
        raise InputError(
            f"--keep: {ext!r} cannot be an extension in a shard; use 1 to {MAX_EXT} letters, digits, _ and -"
        )
    return ext
