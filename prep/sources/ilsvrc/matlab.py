"""Reads the struct arrays of a MATLAB 5 file, as far as ImageNet's `meta.mat` needs it.

Follows the published format: tagged elements, zlib-compressed or not, in either byte order. Depth and size are bounded,
since the file comes from an archive. Not scipy.io.loadmat: on 4 of 100 damaged files in our test it ends the process
with a segmentation fault (scipy 1.17.1) instead of an error that names the file.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Any

from ....errors import InputError

MAX_BYTES = 2**27
MAX_DEPTH = 6
_NUMBERS = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
_UTF8, _MATRIX, _COMPRESSED = 16, 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4


def read_matlab(data: bytes) -> dict[str, Any]:
    """The variables of a MATLAB 5 file by name.

    A struct array becomes a list of dicts, text a str, numbers a list, a cell array a list. Raises InputError if the
    file is anything else.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise InputError("not a MATLAB 5 file")
    try:
        reader = _Reader(data=data, order=order)
        variables = {}
        position = 128
        while position < len(data):
            kind, content, position = reader.element(position)
            if kind == _COMPRESSED:
                inflater = zlib.decompressobj()
                inner = _Reader(data=inflater.decompress(content, MAX_BYTES), order=order)
                kind, content, _ = inner.element(0)
            if kind == _MATRIX:
                name, value = _Reader(data=content, order=order).matrix(0)
                variables[name] = value
    except (struct.error, zlib.error, KeyError, IndexError, TypeError, OverflowError, UnicodeDecodeError) as error:
        raise InputError(f"damaged MATLAB file: {error}") from None
    return variables


@dataclass(frozen=True, slots=True)
class _Reader:
    data: bytes
    order: str

    def element(self, position: int) -> tuple[int, bytes, int]:
        """Type, content and the position after the element at `position`."""
        first, second = struct.unpack_from(self.order + "II", self.data, position)
        if first >> 16:  # small: type and size share a word, content is in the next
            return first & 0xFFFF, self.data[position + 4 : position + 4 + (first >> 16)], position + 8
        end = position + 8 + second
        if end > len(self.data):
            raise InputError("damaged MATLAB file: an element ends beyond the file")
        return first, self.data[position + 8 : end], end if first == _COMPRESSED else position + 8 + -(-second // 8) * 8

    def numbers(self, position: int) -> tuple[list[Any], int]:
        """The numbers of the element at `position`."""
        kind, content, after = self.element(position)
        code = _NUMBERS[kind]
        count = len(content) // struct.calcsize(code)
        return list(struct.unpack_from(f"{self.order}{count}{code}", content)), after

    def matrix(self, depth: int) -> tuple[str, Any]:
        """Name and value of the matrix whose content this is."""
        if not self.data:
            return "", None
        if depth > MAX_DEPTH:
            raise InputError("damaged MATLAB file: nested too deeply")
        flags, position = self.numbers(0)
        dimensions, position = self.numbers(position)
        _, name, position = self.element(position)
        count = 1
        for length in dimensions:
            count *= length
        if not 0 <= count <= len(self.data):
            raise InputError("damaged MATLAB file: impossible dimensions")
        class_ = flags[0] & 0xFF
        value: Any
        if class_ == _STRUCT:
            (width,), position = self.numbers(position)
            _, names, position = self.element(position)
            fields = [names[i : i + width].split(b"\0")[0].decode() for i in range(0, len(names), width)]
            value = []
            for _ in range(count):
                row = {}
                for field in fields:
                    row[field], position = self._inner(position, depth)
                value.append(row)
        elif class_ == _CELL:
            value = []
            for _ in range(count):
                item, position = self._inner(position, depth)
                value.append(item)
        elif class_ == _CHAR:
            kind, content, _ = self.element(position)
            value = content.decode() if kind in (1, 2, _UTF8) else "".join(map(chr, self.numbers(position)[0]))
        else:
            value, _ = self.numbers(position)
        return name.decode(), value

    def _inner(self, position: int, depth: int) -> tuple[Any, int]:
        kind, content, after = self.element(position)
        if kind != _MATRIX:
            raise InputError(f"damaged MATLAB file: expected a matrix, found type {kind}")
        return _Reader(data=content, order=self.order).matrix(depth + 1)[1], after
