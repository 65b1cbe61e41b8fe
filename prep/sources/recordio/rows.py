"""The images in a `.rec`, in the order of the file: where each is, its id and its labels.

The framing alone says where records are. If a record is damaged, and the `.idx` beside the file says where the next one
begins, it becomes one bad input, and reading continues there; otherwise the file is refused.
"""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....errors import InputError
from ...storage.by_offset import address_of, is_in_store, opened
from ...storage.window import window_of
from ..folders.read_ahead import READ_AHEAD, side_by_side
from ..inputs import MAX_INPUT_BYTES
from ..remarks import Remarks
from .framing import FRAME_BYTES, HEAD_BYTES, MAGIC, Damaged, Read, Record, content_of, record_at
from .idx import Idx
from .image import header_of

_RECORDS_PER_STEP = 256  # of a file in a store, of which several are read at the same time


class Row(NamedTuple):
    """One record."""

    offset: int
    """Where the record begins."""
    stop: int
    """Where the next one begins."""
    id: int | None
    """Its id; None if it is damaged and the `.idx` does not tell."""
    labels: tuple[float, ...]
    """Its labels, at least the first two; none if it is damaged and they cannot be trusted."""
    num_labels: int
    image_offset: int
    """Where the image begins; 0 if it is not one range of bytes, since the record is divided or damaged."""
    num_bytes: int
    """Size of the image."""


class _Step(NamedTuple):
    """The records from one offset to another."""

    rows: list[Row]
    error: InputError | None
    """Why there are no more."""


def rows_of(path: Path, idx: Idx | None, remarks: Remarks) -> Iterator[Row]:
    """The records of `path`; `remarks` receives a note if `idx` does not fit them.

    Raises InputError, naming the file, the byte, what was found and what was expected, for a file that is damaged or
    not complete.
    """
    offsets = array("q")
    for row in _rows(path, idx):
        offsets.append(row.offset)
        yield row
    if idx is not None and not np.array_equal(idx.offsets_N, offsets):
        num_right = int(np.isin(idx.offsets_N, offsets).sum())
        remarks.note(
            f"{idx.path}: does not fit {path.name}, which was read without it: {num_right:,} of the "
            f"{len(idx.offsets_N):,} offsets are those of a record, and there are {len(offsets):,} records"
        )


def _rows(path: Path, idx: Idx | None) -> Iterator[Row]:
    steps, position = list(pairwise(_bounds(path, idx))), 0
    in_order = side_by_side(steps, lambda step: _step(path, idx, *step), [path])
    for (_, stop), step in zip(steps, in_order, strict=True):
        if step.error is None and step.rows[-1].stop != stop:
            break  # nothing begins at `stop`: from here on one record after the other
        yield from step.rows
        if step.error is not None:
            raise step.error
        position = stop
    with _reading(path) as (read, end):
        yield from _walk(read, path, idx, position, end, end)


@contextmanager
def _reading(path: Path) -> Iterator[tuple[Read, int]]:
    """A function that reads `path`, in a store many records at a time, and the size of the file."""
    if is_in_store(address_of(path)):
        with window_of(path) as window:
            yield window.read, window.file_bytes
    else:
        with opened(path) as file:
            yield file.read_at, file.num_bytes


def _bounds(path: Path, idx: Idx | None) -> list[int]:
    """Offsets between which records are read at the same time, since a store takes long to answer; none on a disk."""
    if idx is None or not is_in_store(address_of(path)):
        return []
    num_records = max(_RECORDS_PER_STEP, len(idx.offsets_N) // (8 * READ_AHEAD))
    return [0, *idx.offsets_N[num_records::num_records].tolist()]


def _step(path: Path, idx: Idx | None, start: int, stop: int) -> _Step:
    rows: list[Row] = []
    try:
        with _reading(path) as (read, end):
            for row in _walk(read, path, idx, start, stop, end):
                rows.append(row)
    except InputError as error:
        return _Step(rows, error)
    return _Step(rows, None)


def _walk(read: Read, path: Path, idx: Idx | None, position: int, stop: int, end: int) -> Iterator[Row]:
    """The records that begin from `position` on and before `stop`, in a file of `end` bytes."""
    held: Row | None = None  # until it is known that a record begins where this one ends
    while position < stop:
        try:
            record = record_at(read, position, end)
        except Damaged as error:
            # The damaged one is this record, or the last one, whose length led here.
            start = position if idx is not None and position in idx else -1 if held is None else held.offset
            following = None if idx is None or start not in idx else idx.after(start)
            if idx is None or following is None:
                is_none = position == 0 and read(0, len(MAGIC)) != MAGIC
                way_out = "this is no RecordIO file of MXNet, or it is damaged" if is_none else "get the file again"
                if idx is None and not is_none:
                    way_out += f"; with {path.stem}.idx beside it, records after a damaged one are read"
                raise InputError(f"{path}: {error}; {way_out}") from None
            if held is not None and held.offset != start:
                yield held
            held, position = _damaged(read, idx, start, following), following
            continue
        if held is not None:
            yield held
        held, position = _row(read, idx, record), record.stop
    if held is not None:
        yield held


def _row(read: Read, idx: Idx | None, record: Record) -> Row:
    is_divided, num_bytes = len(record.frames) > 1, record.num_bytes
    head = content_of(read, record) if is_divided and num_bytes <= MAX_INPUT_BYTES else record.head
    try:
        header = header_of(head, num_bytes)
    except InputError:
        key = None if idx is None else idx.key_at(record.offset)
        return Row(record.offset, record.stop, key, (), 0, 0, num_bytes)
    image_offset = 0 if is_divided else record.offset + FRAME_BYTES + header.num_bytes
    num_bytes -= header.num_bytes
    return Row(record.offset, record.stop, header.id, header.labels, header.num_labels, image_offset, num_bytes)


def _damaged(read: Read, idx: Idx, offset: int, following: int) -> Row:
    """The record between two offsets, whose frame is damaged; its header is trusted if it has the id of the index."""
    key, num_bytes = idx.key_at(offset), following - offset
    try:
        header = header_of(read(offset + FRAME_BYTES, HEAD_BYTES - FRAME_BYTES), num_bytes)
    except InputError:
        return Row(offset, following, key, (), 0, 0, num_bytes)
    is_right = header.id == key and header.num_labels == 1
    return Row(offset, following, key, header.labels if is_right else (), int(is_right), 0, num_bytes)
