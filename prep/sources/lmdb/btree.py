"""The entries of an LMDB database, found by reading the pages of its B+ tree.

A file is pages of equal size. The first two are meta pages, of which the one of the later transaction counts: it names
the root. Branch pages point to pages, leaf pages hold keys and values; a large value has pages of its own, one after
the other. All numbers are little-endian. LMDB 0.9 writes this, version 1 of its format, on 64-bit systems.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...storage.by_offset import ByOffset, opened

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER_BYTES = 16
_META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
_TREE = struct.Struct("<IHHQQQQQ")  # padding, flags, depth, pages of three kinds, entries, root
_BRANCH, _LEAF, _OVERFLOW, _IS_META = 0x01, 0x02, 0x04, 0x08
_BIG, _OF_TREES = 0x01, 0x06  # flags of a node: its value has pages of its own; it holds a database or duplicates
_NO_PAGE = 2**64 - 1
_MAX_DEPTH = 32


class Entry(NamedTuple):
    """A key, and where its value is in the file."""

    key: bytes
    offset: int
    num_bytes: int


class _Meta(NamedTuple):
    page_bytes: int
    depth: int
    num_entries: int
    root: int
    transaction: int


def entries_of(path: Path) -> Iterator[Entry]:
    """The entries of a database, sorted by key.

    Raises InputError, naming the page, if it is damaged, not complete or not a plain database of keys and values.
    """
    with opened(path) as file:
        meta = _meta(file, path)
        count, num_pages = 0, file.num_bytes // meta.page_bytes
        pages = [] if meta.root == _NO_PAGE else [(meta.root, 1)]  # to be read, the next one last
        num_read = 0
        while pages:
            number, depth = pages.pop()
            num_read += 1
            if number >= num_pages:
                raise InputError(f"{path}: ends before page {number}; it is not complete: copy it again")
            if depth > min(meta.depth, _MAX_DEPTH) or num_read > num_pages:  # pages that lead to each other
                raise _damaged(path, number)
            below: list[tuple[int, int]] = []
            for found in _nodes(file, path, meta, number):
                if isinstance(found, int):
                    below.append((found, depth + 1))
                else:
                    count += 1
                    yield found
            pages += reversed(below)
    if count != meta.num_entries:
        raise InputError(f"{path}: {count:,} entries, but it states {meta.num_entries:,}; it is damaged: copy it again")


def is_database(path: Path) -> bool:
    """Whether it is a file of LMDB for 64-bit systems."""
    with opened(path) as file:
        return _meta_at(file, 0) is not None


def _meta(file: ByOffset, path: Path) -> _Meta:
    """The meta page that counts."""
    first = _meta_at(file, 0)
    if first is None:
        raise InputError(f"{path}: not a database of LMDB for 64-bit systems, or damaged; copy it again")
    second = _meta_at(file, first.page_bytes)
    return first if second is None or first.transaction >= second.transaction else second


def _meta_at(file: ByOffset, offset: int) -> _Meta | None:
    page = file.read_at(offset, _HEADER_BYTES + _META.size + 2 * _TREE.size + 16)
    if len(page) < _HEADER_BYTES + _META.size + 2 * _TREE.size + 16:
        return None
    magic, version, _, _ = _META.unpack_from(page, _HEADER_BYTES)
    free = _TREE.unpack_from(page, _HEADER_BYTES + _META.size)
    tree = _TREE.unpack_from(page, _HEADER_BYTES + _META.size + _TREE.size)
    (transaction,) = struct.unpack_from("<Q", page, len(page) - 8)
    page_bytes = free[0]
    if (magic, version) != (_MAGIC, _VERSION) or page_bytes not in (2**i for i in range(8, 17)):
        return None
    return _Meta(page_bytes, tree[2], tree[6], tree[7], transaction)


def _nodes(file: ByOffset, path: Path, meta: _Meta, number: int) -> Iterator[Entry | int]:
    """The entries of a leaf page, or the numbers of the pages below a branch page."""
    page = file.read_at(number * meta.page_bytes, meta.page_bytes)
    stated, _, flags, lower, _ = struct.unpack_from("<QHHHH", page)
    starts = struct.unpack_from(f"<{max(0, min(lower, len(page)) - _HEADER_BYTES) // 2}H", page, _HEADER_BYTES)
    if stated != number or flags & ~0x10 not in (_BRANCH, _LEAF):
        raise _damaged(path, number)
    for start in starts:
        if start < _HEADER_BYTES or start + 8 > len(page):
            raise _damaged(path, number)
        low, high, of_node, key_bytes = struct.unpack_from("<HHHH", page, start)
        at = start + 8 + key_bytes
        if flags & _BRANCH:
            yield low | high << 16 | of_node << 32
            continue
        if of_node & _OF_TREES:
            raise InputError(
                f"{path}: holds several databases, or several values of a key; expected images of Caffe: "
                "write them to class folders, one file each"
            )
        num_bytes, offset = low | high << 16, number * meta.page_bytes + at
        if of_node & _BIG:
            if at + 8 > len(page):
                raise _damaged(path, number)
            (first,) = struct.unpack_from("<Q", page, at)
            offset = first * meta.page_bytes + _HEADER_BYTES
        elif at + num_bytes > len(page):
            raise _damaged(path, number)
        if offset + num_bytes > file.num_bytes:
            raise InputError(f"{path}: a value ends beyond byte {file.num_bytes}; it is not complete: copy it again")
        yield Entry(page[start + 8 : at], offset, num_bytes)


def _damaged(path: Path, number: int) -> InputError:
    return InputError(f"{path}: page {number} is damaged; copy the database again")
