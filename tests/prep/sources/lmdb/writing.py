"""Writes LMDB databases as one transaction of LMDB would, and Caffe's Datum, knowing nothing of our reader."""

import struct
from collections.abc import Mapping
from pathlib import Path

PAGE, HEADER = 4096, 16
MAX_NODE = (PAGE - HEADER) // 2
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8
NO_PAGE = 2**64 - 1


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    done = b""
    while number > 127:
        done, number = done + bytes([number & 127 | 128]), number >> 7
    return done + bytes([number])


def datum(
    data: bytes, label: int | None, size: tuple[int, int, int] | None = None, floats: tuple[float, ...] = ()
) -> bytes:
    """An encoded image, or, with channels, height and width, one of pixels."""
    fields = [] if size is None else [varint(i << 3) + varint(value) for i, value in enumerate(size, 1)]
    fields += [varint(4 << 3 | 2) + varint(len(data)) + data] if data else []
    fields += [] if label is None else [varint(5 << 3) + varint(label)]
    fields += [varint(6 << 3 | 5) + struct.pack("<f", value) for value in floats]
    return b"".join([*fields, *([varint(7 << 3) + b"\1"] if size is None and data else [])])


def node(key: bytes, low: int, middle: int, flags: int, data: bytes) -> bytes:
    content = struct.pack("<HHHH", low, middle, flags, len(key)) + key + data
    return content + bytes(len(content) % 2)


def page(number: int, flags: int, nodes: list[bytes]) -> bytes:
    """A page whose nodes fill it from its end."""
    starts, at = [], PAGE
    for one in nodes:
        at -= len(one)
        starts.append(at)
    lower = HEADER + 2 * len(nodes)
    assert lower <= at
    head = struct.pack("<QHHHH", number, 0, flags, lower, at) + struct.pack(f"<{len(starts)}H", *starts)
    return head + bytes(at - len(head)) + b"".join(reversed(nodes))


def database(content: Mapping[bytes, bytes]) -> bytes:
    """The file of a database."""
    pages = [b"", b""]  # the meta pages
    num_overflow, full = 0, PAGE - HEADER

    def tree(nodes: list[tuple[bytes, bytes]], flags: int) -> list[tuple[bytes, int]]:
        """Write nodes, with the first key of each, to pages; the first key and the number of each page."""
        parts: list[list[tuple[bytes, bytes]]] = [[]]
        for one in nodes:
            if sum(len(other) + 2 for _, other in parts[-1]) + len(one[1]) + 2 > full:
                parts.append([])
            parts[-1].append(one)
        done = []
        for part in parts:
            done.append((part[0][0], len(pages)))
            pages.append(page(len(pages), flags, [one for _, one in part]))
        return done

    nodes = []
    for key, value in sorted(content.items()):
        if 8 + len(key) + len(value) > MAX_NODE:
            count = -(-(HEADER + len(value)) // PAGE)
            first, num_overflow = len(pages), num_overflow + count
            whole = struct.pack("<QHHI", first, 0, OVERFLOW, count) + value
            whole += bytes(-len(whole) % PAGE)
            pages += [whole[at : at + PAGE] for at in range(0, len(whole), PAGE)]
            data, flags = struct.pack("<Q", first), 1
        else:
            data, flags = value, 0
        nodes.append((key, node(key, len(value) & 0xFFFF, len(value) >> 16, flags, data)))
    level, depth, num_branches = tree(nodes, LEAF) if nodes else [], 1 if nodes else 0, 0
    num_leaves = len(level)
    while len(level) > 1:
        inner = [
            (key, node(key if i else b"", number & 0xFFFF, number >> 16 & 0xFFFF, number >> 32, b""))
            for i, (key, number) in enumerate(level)
        ]
        level, depth = tree(inner, BRANCH), depth + 1
        num_branches += len(level)
    root = level[0][1] if level else NO_PAGE
    free = struct.pack("<IHHQQQQQ", PAGE, 8, 0, 0, 0, 0, 0, NO_PAGE)
    main = struct.pack("<IHHQQQQQ", 0, 0, depth, num_branches, num_leaves, num_overflow, len(content), root)
    empty = struct.pack("<IHHQQQQQ", 0, 0, 0, 0, 0, 0, 0, NO_PAGE)
    for number, trees in enumerate((free + empty, free + main)):  # the second is of the later transaction
        meta = struct.pack("<IIQQ", 0xBEEFC0DE, 1, 0, 2**30) + trees + struct.pack("<QQ", len(pages) - 1, number)
        pages[number] = (struct.pack("<QHHHH", number, 0, META, 0, 0) + meta).ljust(PAGE, b"\0")
    return b"".join(pages)


def write_database(folder: Path, content: Mapping[bytes, bytes]) -> Path:
    """Write `data.mdb` and an empty `lock.mdb`; returns the former."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.mdb").write_bytes(database(content))
    (folder / "lock.mdb").touch()
    return folder / "data.mdb"
