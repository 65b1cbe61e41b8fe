"""The rows of one parquet file: which columns hold images and labels, and where every image is.

A damaged footer can crash the process that opens it: pyarrow 24.0 aborts on 3 of 9,000 footers with one to four bytes
changed, which no `except` catches. So a worker opens the file, and its death becomes one line that names the file.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ....errors import InputError
from ...storage.by_offset import AsFile, opened
from ...workers import Heartbeat
from ..extras import column_extras
from ..inputs import Extra, FileImage, SourceImage
from ..labels import RawLabel, Unlabeled, class_id_of, raw_label
from ..lists.columns import LABEL_NAMES, find_column
from ..options import SourceOptions
from ..remarks import Remarks
from .content import CODECS
from .image import ParquetImage
from .pages import ENCODINGS, ColumnChunk

# Per file. Labels and paths of a million rows take about 500 MB; a footer that needs more than this is damaged.
MEMORY_BYTES = 2**32
CPU_SECONDS = 600.0
_SMALLEST_IMAGE = 40  # bytes; a GIF of one pixel has 43


class _Columns(NamedTuple):
    """Which columns hold what; `class_ids` is None if the file does not name its classes."""

    image: str
    label: str | None
    is_struct: bool
    has_path: bool
    class_ids: tuple[str, ...] | None


class FileRows(NamedTuple):
    """The contents of one file: label and image of every row, its class ids if it names them, and notes."""

    rows: list[tuple[RawLabel | None, SourceImage]]
    class_ids: tuple[str, ...] | None
    notes: list[str]


class FileJob(NamedTuple):
    """One file to open."""

    path: Path
    address: str
    """How to open it, on this machine or another."""
    options: SourceOptions


def read_rows(job: FileJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> FileRows:
    """Read one file, in a worker. Raises InputError, naming it, if it is damaged or in the cases of `read_parquet`."""
    import pyarrow
    from pyarrow import parquet

    path, remarks = job.path, Remarks()
    if poisoned:
        raise InputError(f"{path}: its parquet footer or its label column is damaged: {poisoned[0]}; download it again")
    heartbeat(0)
    # The system's allocator, and no threads: others reserve more address space than they use.
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    try:
        with (
            opened(job.address) as content,
            heartbeat.decoding(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS),
            parquet.ParquetFile(AsFile(content)) as file,
        ):
            columns = _find_columns(path, file.schema_arrow, job.options, remarks)
            rows = list(_images_of(job, file, columns))
    except MemoryError:
        raise InputError(
            f"{path}: opening it takes more than {MEMORY_BYTES // 2**30} GiB of memory; is its footer damaged? "
            "download it again"
        ) from None
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # from the disk or the store; pyarrow's own errors have no number
        words = " ".join(str(error).split())
        raise InputError(f"{path}: not a complete parquet file ({words}); download it again") from None
    return FileRows(rows, columns.class_ids, remarks.notes)


def where_of(image: SourceImage) -> str:
    """Where an image of a parquet file is, for messages."""
    if isinstance(image, ParquetImage):
        return f"{image.container}, row {image.chunk.first_row + image.row}"
    return image.name


def _find_columns(path: Path, schema: Any, options: SourceOptions, remarks: Remarks) -> _Columns:
    from pyarrow import types

    def is_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    def is_text(kind: Any) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_string(kind) or types.is_large_string(kind))

    structs = {
        field.name: field.type.get_field_index("path") >= 0
        for field in schema
        if types.is_struct(field.type)
        and (i := field.type.get_field_index("bytes")) >= 0
        and is_bytes(field.type.field(i).type)
    }
    plain = [field.name for field in schema if is_bytes(field.type)]
    wanted = options.image_column
    if wanted is not None and wanted not in (*structs, *plain):
        raise InputError(
            f"{path}: --image-column {wanted}: no such column of image bytes among {', '.join(schema.names)}"
        )
    found = [wanted] if wanted is not None else list(structs) or plain
    image = _the_one(path, "image column (a struct with bytes, or binary)", found, schema.names, "--image-column")
    tables = {
        name: tuple(class_id_of(str(one)) for one in feature["names"])
        for name, feature in _features(schema).items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }
    numbers = [field.name for field in schema if types.is_integer(field.type)]
    texts = [field.name for field in schema if is_text(field.type) and field.name != image]
    label = _label_column(path, schema.names, numbers, texts, tables, options, remarks)
    return _Columns(image, label, image in structs, structs.get(image, False), tables.get(label or ""))


def _label_column(
    path: Path,
    columns: Sequence[str],
    numbers: Sequence[str],
    texts: Sequence[str],
    tables: dict[str, tuple[str, ...]],
    options: SourceOptions,
    remarks: Remarks,
) -> str | None:
    """The column of labels: the one that the user names, else one with a class table, a usual name or numbers."""
    where, wanted = str(path), options.label_column or options.label_key
    if wanted is not None:
        return find_column([*numbers, *texts], LABEL_NAMES, wanted, "--label-column", where, Unlabeled)
    named = [name for name in numbers if name in tables]
    usual = find_column(named if len(named) > 1 else [*numbers, *texts], LABEL_NAMES, None, "--label-column", where)
    found = named if len(named) == 1 else [usual] if usual is not None else named or list(numbers)
    what = "label column (of whole numbers, or of names and named label)"
    if not found:
        if options.unlabeled:
            return None
        raise Unlabeled(
            f"{path}: no {what} among {', '.join(columns)}; name it with --label-column, or pass --unlabeled to store "
            "the images without labels"
        )
    label = _the_one(path, what, found, columns, "--label-column")
    if len(named) > 1:
        others = ", ".join(name for name in named if name != label)
        remarks.note(f"{path.parent}: labels are the column {label}; --label-column can choose {others} instead")
    return label


def _features(schema: Any) -> dict[str, Any]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _the_one(path: Path, what: str, found: Sequence[str], columns: Iterable[str], option: str) -> str:
    if len(found) != 1:
        count = f"more than one {what}: {', '.join(found)}" if found else f"no {what} among {', '.join(columns)}"
        raise InputError(f"{path}: {count}; name it with {option}")
    return found[0]


def _images_of(job: FileJob, file: Any, columns: _Columns) -> Iterator[tuple[RawLabel | None, SourceImage]]:
    """Label and image of every row."""
    from pyarrow import compute

    path, options = job.path, job.options
    image_bytes = f"{columns.image}.bytes" if columns.is_struct else columns.image
    chunks = list(_chunks(job, file, image_bytes))
    kept = [name for name in options.keep if name in file.schema_arrow.names and name != columns.image]
    wanted = {*([columns.label] if columns.label else []), *kept}
    table = file.read([*wanted, *([f"{columns.image}.path"] if columns.has_path else [])], use_threads=False)
    num_rows = sum(chunk.num_rows for chunk in chunks)
    if table.num_columns and table.num_rows != num_rows:
        raise InputError(f"{path}: damaged parquet footer: {table.num_rows} labels, {num_rows} rows; download it again")
    labels = table.column(columns.label).to_pylist() if columns.label else [None] * num_rows
    paths = compute.struct_field(table.column(columns.image), "path").to_pylist() if columns.has_path else []
    extra_rows = table.select(kept).to_pylist() if kept else []
    lacks_bytes = _rows_without_bytes(file, image_bytes) if columns.has_path else None
    number = 0
    for chunk in chunks:
        for row in range(chunk.num_rows):
            written = paths[number] if paths else None
            file_name = Path(written).name if isinstance(written, str) else ""
            name = file_name or f"{path.stem}-{number:07d}"
            extras = tuple(sorted(column_extras(kept, extra_rows[number]))) if kept else ()
            image: SourceImage = ParquetImage(name, 0, chunk, row, extras)
            if lacks_bytes is not None and lacks_bytes[number] and isinstance(written, str):
                image = _file_of_path(path, written, name, extras) or image
            label = raw_label(labels[number])
            if label is None and labels[number] is not None:
                raise InputError(f"{path}, row {number}: label {labels[number]!r}; expected a class index or a name")
            yield label, image
            number += 1


def _rows_without_bytes(file: Any, column: str) -> list[bool] | None:
    """Which rows have no bytes; None if all have some. Statistics tell without reading an image.

    Without statistics, a row group is read only if it is too small to hold an image in each row.
    """
    schema = file.schema
    (number,) = (i for i in range(len(schema)) if schema.column(i).path == column)
    found: list[bool] = []
    for i in range(file.num_row_groups):
        chunk, num_rows = file.metadata.row_group(i).column(number), file.metadata.row_group(i).num_rows
        statistics = chunk.statistics
        is_known = statistics is not None and statistics.has_null_count
        if statistics.null_count == 0 if is_known else chunk.total_uncompressed_size >= num_rows * _SMALLEST_IMAGE:
            found += [False] * num_rows
        elif is_known and statistics.null_count == num_rows:
            found += [True] * num_rows
        else:
            struct = file.read_row_group(i, [column], use_threads=False).column(0)
            found += [value is None or value["bytes"] is None for value in struct.to_pylist()]
    return found if any(found) else None


def _file_of_path(path: Path, written: str, name: str, extras: tuple[Extra, ...]) -> FileImage | None:
    """The image that a row names instead of holding it; None if there is no such file or a relative path leaves the
    parquet file's folder.
    """
    if not Path(written).is_absolute() and os.pardir in Path(os.path.normpath(written)).parts:
        return None
    there = os.path.normpath(path.parent / written)
    try:
        size = os.stat(there).st_size  # noqa: PTH116 - a Path costs more than the call
    except (OSError, ValueError):
        return None
    return FileImage(name, 0, there, size, 0, extras)


def _chunks(job: FileJob, file: Any, column: str) -> Iterator[ColumnChunk]:
    """The column `column` in every row group."""
    schema = file.schema
    (number,) = (i for i in range(len(schema)) if schema.column(i).path == column)
    leaf = schema.column(number)
    first_row = 0
    for i in range(file.num_row_groups):
        group = file.metadata.row_group(i)
        chunk = group.column(number)
        if chunk.compression not in CODECS or not ENCODINGS.issuperset(chunk.encodings) or leaf.max_repetition_level:
            found = f"{chunk.compression} with {', '.join(chunk.encodings)}"
            raise InputError(
                f"{job.path}: {column} is stored as {found}; expected {', '.join(CODECS)} with plain or dictionary "
                "encoding: write the file again with pyarrow"
            )
        start = min(offset for offset in (chunk.dictionary_page_offset, chunk.data_page_offset) if offset)
        yield ColumnChunk(
            job.address,
            start,
            chunk.total_compressed_size,
            group.num_rows,
            chunk.compression,
            leaf.max_definition_level,
            first_row,
        )
        first_row += group.num_rows
