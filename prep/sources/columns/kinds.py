"""The columns of each kind of image: numbers and text.

Every image also has a name, a label, a size and possibly extras. Text is stored as a folder, which many images share,
and the rest.
"""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, cast

from ...storage import StoreUrl
from ...storage.url import Scheme
from ..arrays.image import ArrayImage, PixelArray
from ..folders.store_folder import StoreImage
from ..folders.zip_folder import ZipImage
from ..inputs import Extra, FileImage, SourceImage
from ..recordio.image import RecordImage
from ..tfrecords.image import ExampleImage

NUMBERS = {
    "file": ("offset",),
    "store": (),
    "zip": ("offset", "num_packed", "is_deflated", "crc32"),
    "parquet": ("row",),
    "example": ("offset", "record_offset", "record_bytes"),
    "array": ("row",),
    "record": ("offset",),
}
TEXTS = {
    "file": ("path",),
    "store": ("url", "e_tag"),
    "zip": ("path",),
    "parquet": ("chunk",),
    "array": ("array",),
    "record": ("path",),
    "example": ("path",),
}
_KINDS = {
    "FileImage": "file",
    "StoreImage": "store",
    "ZipImage": "zip",
    "ParquetImage": "parquet",
    "ExampleImage": "example",
    "ArrayImage": "array",
    "RecordImage": "record",
}


def kind_of(image: type[SourceImage]) -> str:
    """The kind of a class of images."""
    return _KINDS[image.__name__]


def is_secret(image: SourceImage) -> bool:
    """Whether its URL holds more than its `str`: a password or a query, which must not be written to a file."""
    return isinstance(image, StoreImage) and bool(image.url.userinfo or image.url.query or image.url.exact)


def cut(name: str, images: Sequence[Any]) -> tuple[Iterable[str], Sequence[str]]:
    """The values of a text column as folders, the beginnings that many images share, and rests."""
    if name in ("chunk", "array"):
        return [json.dumps(list(getattr(image, name))) for image in images], [""] * len(images)
    if name == "e_tag":
        return repeat("", len(images)), [image.e_tag or "" for image in images]
    if name == "path":  # not cut if the file holds many images
        pairs = [
            (image.path, "") if isinstance(image, ZipImage) or image.offset else _halves(image.path) for image in images
        ]
    else:
        pairs = [_halves(str(getattr(image, name))) for image in images]
    return [folder for folder, _ in pairs], [rest for _, rest in pairs]


def image_of(
    kind: str, row: int, number: Callable[[str, int], int], text: Callable[[str, int], str], *, has_extras: bool
) -> SourceImage:
    """Build the image in `row` of the columns of a kind; `number` and `text` look up a column's value in a row."""
    name, label = text(f"{kind}.name", row), number(f"{kind}.label", row)
    num_bytes = number(f"{kind}.num_bytes", row)
    extras = extras_of(text(f"{kind}.extras", row)) if has_extras else ()
    numbers = [number(f"{kind}.{column}", row) for column in NUMBERS[kind]]
    texts = [text(f"{kind}.{column}", row) for column in TEXTS[kind]]
    if kind == "file":
        return FileImage(name, label, texts[0], num_bytes, numbers[0], extras)
    if kind == "store":
        url, e_tag = texts
        return StoreImage(name, label, _url(url), num_bytes, e_tag or None, extras)
    if kind == "record":
        return RecordImage(name, label, texts[0], num_bytes, numbers[0], extras)
    if kind == "zip":
        offset, num_packed, is_deflated, crc32 = numbers
        return ZipImage(name, label, texts[0], num_bytes, offset, num_packed, bool(is_deflated), crc32, extras)
    if kind == "example":
        return ExampleImage(name, label, texts[0], num_bytes, numbers[0], numbers[1], numbers[2], extras)
    if kind == "array":
        return ArrayImage(name, label, PixelArray(*json.loads(texts[0])), numbers[0], extras)
    from ..parquet.image import ParquetImage  # with pyarrow
    from ..parquet.pages import ColumnChunk

    return ParquetImage(name, label, ColumnChunk(*json.loads(texts[0])), numbers[0], extras)


def extras_text(extras: tuple[Extra, ...]) -> str:
    """The extras of an image as text."""
    if not extras:
        return ""
    rows = [(one.ext, base64.b64encode(one.content).decode(), *one[2:]) for one in extras]
    return json.dumps(rows)


def extras_of(text: str) -> tuple[Extra, ...]:
    """The inverse of `extras_text`."""
    rows = json.loads(text) if text else []
    return tuple(Extra(ext, base64.b64decode(content), *rest) for ext, content, *rest in rows)


def _halves(text: str) -> tuple[str, str]:
    at = text.rfind("/") + 1
    return text[:at], text[at:]


def _url(text: str) -> StoreUrl:
    """The URL from its `str`; not parsed like user input, since names in a store may contain `#` and `?`."""
    scheme, _, rest = text.partition("://")
    host, _, path = rest.partition("/")
    return StoreUrl(cast(Scheme, scheme), host, path)
