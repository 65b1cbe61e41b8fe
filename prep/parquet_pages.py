"""One value of a parquet column of bytes, without the rest of its row group.

Parquet keeps the images of a row group in pages of about 1 MB. In a shuffled plan every image lies in another row group
of some hundred, so a worker walks the page headers of the group once, and then reads and unpacks one page per image.
(pyarrow reads whole row groups only; it gives the codecs here.) Format: the parquet specification, page headers in
Thrift's compact protocol; pages of version 1 and 2, plain and dictionary encoding.
"""

import bisect
import functools
import os
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .inputs import MAX_INPUT_BYTES

try:
    import pyarrow
except ImportError as error:
    raise ImportError("reading parquet needs pyarrow: pip install 'alexkit[parquet]'") from error

CODECS = {"UNCOMPRESSED": None, "SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd"}
ENCODINGS = frozenset(("PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"))
HEADER_READS = (512, 2**16)  # bytes; the longer one where statistics make a header long
CACHED_CHUNKS = 4096  # page tables of about 3 kB
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3  # page types
_PLAIN, _BY_DICTIONARY = (0,), (2, 8)  # encodings


class ColumnChunk(NamedTuple):
    """The bytes of one column in one row group; `max_level` is the definition level of a value that is not null."""

    path: str
    start: int
    num_bytes: int
    num_rows: int
    codec: str
    max_level: int


class _Page(NamedTuple):
    """A page whose content lies at `offset`; of its `num_levels` bytes before the packed part only version 2 knows."""

    offset: int
    num_bytes: int
    num_unpacked: int
    first_row: int
    num_rows: int
    by_dictionary: bool
    num_levels: int | None
    packed: bool


class _Table(NamedTuple):
    pages: list[_Page]
    first_rows: list[int]
    dictionary: _Page | None


def read_value(chunk: ColumnChunk, row: int) -> bytes:
    """The value in row `row` of the row group.

    Raises ValueError, in one line, when it is null, too large, or the file is damaged or was changed.
    """
    descriptor = os.open(chunk.path, os.O_RDONLY)
    try:
        table = _page_table(chunk)
        page = table.pages[bisect.bisect_right(table.first_rows, row) - 1]
        levels, values = _content(descriptor, chunk, page)
        skipped = _values_before(levels, chunk.max_level, row - page.first_row, page.num_rows)
        if page.by_dictionary:
            if table.dictionary is None:
                raise ValueError("a dictionary is missing")
            indices = _hybrid(values[1:], values[0], skipped + 1)
            _, values = _content(descriptor, chunk, table.dictionary)
            skipped = int(indices[skipped])
        return _plain_value(values, skipped)
    except _Null:
        raise ValueError("null instead of an image") from None
    except (ValueError, IndexError, struct.error, pyarrow.ArrowException) as error:
        raise ValueError(f"damaged parquet: {' '.join(str(error).split())}") from None
    finally:
        os.close(descriptor)


class _Null(Exception):
    """The value is null."""


@functools.lru_cache(CACHED_CHUNKS)
def _page_table(chunk: ColumnChunk) -> _Table:
    """Where the pages of a column chunk lie, from their headers."""
    pages: list[_Page] = []
    dictionary = None
    position, end, row = chunk.start, chunk.start + chunk.num_bytes, 0
    descriptor = os.open(chunk.path, os.O_RDONLY)
    try:
        while row < chunk.num_rows:
            header, size = _page_header(descriptor, position, end)
            kind, num_unpacked, num_bytes = header[1], header[2], header[3]
            offset = position + size
            if not 0 <= num_bytes <= end - offset or not 0 <= num_unpacked <= MAX_INPUT_BYTES:
                raise ValueError(f"impossible size of the page at byte {position}")
            num_rows, by_dictionary, num_levels, packed = 0, False, None, True
            if kind == _DATA:
                num_rows, by_dictionary = header[5][1], _is_by_dictionary(header[5][2])
            elif kind == _DATA_V2:
                second = header[8]
                num_rows, by_dictionary = second[1], _is_by_dictionary(second[4])
                num_levels, packed = second[5], second.get(7, True)
            page = _Page(offset, num_bytes, num_unpacked, row, num_rows, by_dictionary, num_levels, packed)
            if kind == _DICTIONARY:
                dictionary = page
            elif kind in (_DATA, _DATA_V2):
                if not 0 < num_rows <= chunk.num_rows - row:
                    raise ValueError(f"impossible number of rows in the page at byte {position}")
                pages.append(page)
                row += num_rows
            position = offset + num_bytes
    except (KeyError, TypeError) as error:
        raise ValueError(f"the page header at byte {position} lacks field {error}") from None
    finally:
        os.close(descriptor)
    return _Table(pages, [page.first_row for page in pages], dictionary)


def _is_by_dictionary(encoding: int) -> bool:
    if encoding not in _PLAIN + _BY_DICTIONARY:
        raise ValueError(f"unknown encoding {encoding}")
    return encoding in _BY_DICTIONARY


def _page_header(descriptor: int, position: int, end: int) -> tuple[dict[int, Any], int]:
    """The fields by number of the page header at `position`, and its size."""
    for size in HEADER_READS:
        data = os.pread(descriptor, min(size, end - position), position)
        try:
            return _thrift_struct(data, 0)
        except IndexError:
            continue
    raise ValueError(f"no page header at byte {position}")


def _thrift_struct(data: bytes, position: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """The fields of a struct in Thrift's compact protocol, and where it ends; IndexError when the data do."""
    fields: dict[int, Any] = {}
    number = 0
    while (first := data[position]) != 0:
        position += 1
        kind = first & 15
        if first >> 4:
            number += first >> 4
        else:
            number, position = _zigzag(data, position)
        if kind in (1, 2):
            fields[number] = kind == 1
        elif kind in (4, 5, 6):
            fields[number], position = _zigzag(data, position)
        elif kind == 8:
            size, position = _varint(data, position)
            position += size  # statistics, which nobody here reads
        elif kind == 12 and depth < 3:
            fields[number], position = _thrift_struct(data, position, depth + 1)
        else:
            raise ValueError(f"unknown type {kind} in a page header")
    return fields, position + 1


def _varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise ValueError("a number of more than 64 bits")


def _zigzag(data: bytes, position: int) -> tuple[int, int]:
    value, position = _varint(data, position)
    return (value >> 1) ^ -(value & 1), position


def _content(descriptor: int, chunk: ColumnChunk, page: _Page) -> tuple[memoryview, memoryview]:
    """Definition levels and values of a page, unpacked."""
    data = os.pread(descriptor, page.num_bytes, page.offset)
    if len(data) != page.num_bytes:
        raise ValueError(f"the file ends in the page at byte {page.offset}")
    if page.num_levels is not None:
        levels, rest = memoryview(data)[: page.num_levels], memoryview(data)[page.num_levels :]
        codec = chunk.codec if page.packed else "UNCOMPRESSED"
        return levels, _unpacked(rest, codec, page.num_unpacked - page.num_levels)
    content = _unpacked(memoryview(data), chunk.codec, page.num_unpacked)
    if chunk.max_level == 0 or page.num_rows == 0:  # a column without nulls, or a dictionary
        return memoryview(b""), content
    (num_levels,) = struct.unpack_from("<I", content)
    return content[4 : 4 + num_levels], content[4 + num_levels :]


def _unpacked(data: memoryview, codec: str, num_bytes: int) -> memoryview:
    name = CODECS[codec]
    if name is None:
        return data
    try:
        # The system's allocator: pyarrow's own reserves more address space than an input may take.
        unpacked = pyarrow.Codec(name).decompress(data, num_bytes, memory_pool=pyarrow.system_memory_pool())
    except OSError as error:
        raise ValueError(str(error)) from None
    return memoryview(unpacked).cast("B")


def _values_before(levels: memoryview, max_level: int, row: int, num_rows: int) -> int:
    """How many values lie before that of `row`; raises _Null when it has none."""
    if max_level == 0:
        return row
    levels_R = _hybrid(levels, max_level.bit_length(), num_rows)
    if levels_R[row] != max_level:
        raise _Null
    return int(np.count_nonzero(levels_R[:row] == max_level))


def _hybrid(data: memoryview, bit_width: int, count: int) -> NDArray[np.int64]:
    """`count` numbers of parquet's run-length and bit-packing hybrid."""
    if bit_width > 32:
        raise ValueError(f"numbers of {bit_width} bits")
    runs: list[NDArray[np.int64]] = []
    position = num_read = 0
    while num_read < count:
        head, position = _varint(data, position)
        if head & 1:
            size = (head >> 1) * bit_width
            bits = np.unpackbits(np.frombuffer(data[position : position + size], np.uint8), bitorder="little")
            run = bits.reshape(-1, bit_width) @ (1 << np.arange(bit_width, dtype=np.int64)) if bit_width else None
            if run is None:
                run = np.zeros(min((head >> 1) * 8, count - num_read), np.int64)
        else:
            size = -(-bit_width // 8)
            value = int.from_bytes(data[position : position + size], "little")
            run = np.full(min(head >> 1, count - num_read), value, np.int64)
        if len(run) == 0:
            raise ValueError("a run of no numbers")
        position += size
        runs.append(run)
        num_read += len(run)
    return np.concatenate(runs)[:count] if runs else np.empty(0, np.int64)


def _plain_value(values: memoryview, number: int) -> bytes:
    """Value `number` of plainly encoded byte arrays: each follows its length."""
    position = 0
    for _ in range(number):
        position += 4 + struct.unpack_from("<I", values, position)[0]
    (num_bytes,) = struct.unpack_from("<I", values, position)
    value = values[position + 4 : position + 4 + num_bytes]
    if len(value) != num_bytes:
        raise ValueError("a value ends behind its page")
    return bytes(value)
