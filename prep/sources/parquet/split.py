"""Parquet files as Hugging Face packs images: a struct of `bytes` and perhaps `path`, and a column of class numbers.

Names and order of the classes are those of the files' own metadata (ClassLabel); without it they are the numbers.
Planning reads the columns of labels and paths, never an image; workers read single pages in place.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ....errors import InputError
from ..inputs import SourceImage, SourceSplit, check_number, numbered_split
from .content import CODECS
from .pages import ENCODINGS, ColumnChunk, read_value


class ParquetImage(NamedTuple):
    """One row of a parquet file. All rows of a row group share its `chunk`."""

    name: str
    label: int
    chunk: ColumnChunk
    row: int

    @property
    def num_bytes(self) -> int:
        """Of the images of the whole row group: no listing tells them apart."""
        return self.chunk.num_bytes

    def read(self) -> bytes:
        """The content, as `SourceImage` says."""
        return read_value(self.chunk, self.row)


class _Columns(NamedTuple):
    """What holds what; `class_ids` are None when the file does not name its classes."""

    image: str
    label: str
    has_path: bool
    class_ids: tuple[str, ...] | None


def read_parquet(files: Sequence[Path], split: str) -> SourceSplit:
    """The split that lies in `files`.

    Raises InputError naming the file: not parquet or not complete, no image or label column or several, a codec or
    encoding that is not read here, files that name different classes, and naming the row: no label or one that is no
    class.
    """
    import pyarrow
    from pyarrow import parquet

    images: list[SourceImage] = []
    first: tuple[Path, tuple[str, ...] | None] | None = None
    for path in files:
        try:
            with parquet.ParquetFile(path) as file:
                columns = _find_columns(path, file.schema_arrow)
                first = first or (path, columns.class_ids)
                if columns.class_ids != first[1]:
                    raise InputError(
                        f"{path}: names other classes than {first[0].name}; put only files of one data set together"
                    )
                images += _images_of(path, file, columns)
        except (pyarrow.ArrowException, OSError) as error:
            words = " ".join(str(error).split())
            raise InputError(f"{path}: not a complete parquet file ({words}); download it again") from None
    if first is None or not images:
        raise InputError(f"{files[0].parent if files else split}: parquet files without rows; download them again")
    numbers = map(str, range(1 + max(image.label for image in images)))
    return numbered_split(split, images, first[1] or tuple(numbers))


def _find_columns(path: Path, schema: Any) -> _Columns:
    from pyarrow import types

    features = _features(schema)
    images = [
        field
        for field in schema
        if types.is_struct(field.type)
        and (i := field.type.get_field_index("bytes")) >= 0
        and (types.is_binary(kind := field.type.field(i).type) or types.is_large_binary(kind))
    ]
    named = {
        name: tuple(map(str, feature["names"]))
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }
    numbers = [field.name for field in schema if types.is_integer(field.type)]
    labels = [name for name in numbers if name in named] or [name for name in numbers if name in ("label", "labels")]
    image = _the_one(path, "image column (a struct with bytes)", [field.name for field in images], schema.names)
    label = _the_one(path, "label column (of whole numbers)", labels or numbers, schema.names)
    has_path = images[0].type.get_field_index("path") >= 0
    return _Columns(image, label, has_path, named.get(label))


def _features(schema: Any) -> dict[str, Any]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _the_one(path: Path, what: str, found: Sequence[str], columns: Iterable[str]) -> str:
    if len(found) != 1:
        count = f"more than one {what}: {', '.join(found)}" if found else f"no {what} among {', '.join(columns)}"
        raise InputError(f"{path}: {count}; expected one, write the files with one of each")
    return found[0]


def _images_of(path: Path, file: Any, columns: _Columns) -> Iterator[SourceImage]:
    from pyarrow import compute

    chunks = list(_chunks(path, file, f"{columns.image}.bytes"))
    table = file.read([columns.label, *([f"{columns.image}.path"] if columns.has_path else [])])
    labels = table.column(columns.label).to_pylist()
    paths = compute.struct_field(table.column(columns.image), "path").to_pylist() if columns.has_path else []
    number = 0
    for chunk in chunks:
        for row in range(chunk.num_rows):
            label = check_number(labels[number], f"{path}, row {number}", columns.class_ids)
            written = paths[number] if paths else None
            file_name = Path(written).name if isinstance(written, str) else ""
            class_id = columns.class_ids[label] if columns.class_ids else str(label)
            yield ParquetImage(f"{class_id}/{file_name or f'{path.stem}-{number:07d}'}", label, chunk, row)
            number += 1


def _chunks(path: Path, file: Any, column: str) -> Iterator[ColumnChunk]:
    """The column `column` of every row group."""
    schema = file.schema
    (number,) = (i for i in range(len(schema)) if schema.column(i).path == column)
    leaf = schema.column(number)
    for i in range(file.num_row_groups):
        group = file.metadata.row_group(i)
        chunk = group.column(number)
        if chunk.compression not in CODECS or not ENCODINGS.issuperset(chunk.encodings) or leaf.max_repetition_level:
            found = f"{chunk.compression} with {', '.join(chunk.encodings)}"
            raise InputError(
                f"{path}: {column} is stored as {found}; this reads {', '.join(CODECS)} with plain or dictionary "
                "encoding: write the file again with pyarrow"
            )
        start = min(offset for offset in (chunk.dictionary_page_offset, chunk.data_page_offset) if offset)
        yield ColumnChunk(
            str(path), start, chunk.total_compressed_size, group.num_rows, chunk.compression, leaf.max_definition_level
        )
