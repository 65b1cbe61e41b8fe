"""Parses the lines of a shard's index byte by byte: a large set has millions, and every one is checked."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled

MAX_DIGITS = 18  # they fit into 64 bits
MAX_NAME = 128  # characters of a member's name; a tar header has room for 100
_SPACE, _DOT, _NEWLINE, _ZERO, _NINE = (np.uint8(ord(letter)) for letter in " .\n09")
LABEL_EXTS = (b"cls", b"json")  # json only in adopted sets

Bytes = NDArray[np.uint8]


class ParsedLines(NamedTuple):
    """The contents of an index's lines; from line `num_good` on, the arrays are meaningless."""

    numbers_N4: NDArray[np.int64]
    """Offset and size of image and label."""
    key_bytes: NDArray[np.bytes_]
    """The keys."""
    image_ext: bytes
    """Extension of the image members."""
    label_ext: bytes
    """Extension of the label members: `cls`, or `json` in an adopted set."""
    num_good: int
    """Number of valid lines before the first invalid one."""


def parse_lines(body: bytes, num_lines: int) -> ParsedLines:
    """Parse the lines `EXT OFFSET SIZE KEY.EXT cls OFFSET SIZE KEY.cls` of one shard; the last may lack its newline."""
    ext = body[: max(body.find(b" "), 0)]
    fields = body.partition(b"\n")[0].split(b" ", 5)
    label_ext = fields[4] if len(fields) == 6 and fields[4] in LABEL_EXTS else LABEL_EXTS[0]
    text = np.frombuffer(body if body.endswith(b"\n") else body + b"\n", np.uint8)
    numbers_N4 = np.zeros((num_lines, 4), np.int64)
    key_places_N2 = np.zeros((num_lines, 2), np.int64)
    exts = np.frombuffer(ext, np.uint8), np.frombuffer(label_ext, np.uint8)
    num_good = _parse(text, *exts, numbers_N4, key_places_N2)
    width = max(int(key_places_N2[:, 1].max(initial=1)), 1)
    keys = np.zeros((num_lines, width), np.uint8)
    _copy_keys(text, key_places_N2, keys)
    return ParsedLines(numbers_N4, keys.view(f"S{width}")[:, 0], ext, label_ext, num_good)


@compiled
def _parse(text: Bytes, ext: Bytes, label: Bytes, numbers: NDArray[np.int64], keys: NDArray[np.int64]) -> int:
    position = 0
    for line in range(len(numbers)):
        position = _member(text, position, ext, _SPACE, numbers[line], 0, keys[line])
        if position < 0:
            return line
        image_key, length = keys[line]
        position = _member(text, position, label, _NEWLINE, numbers[line], 2, keys[line])
        if position < 0 or keys[line, 1] != length:
            return line
        for i in range(length):
            if text[image_key + i] != text[keys[line, 0] + i]:
                return line
    return len(numbers)


@compiled
def _member(
    text: Bytes, position: int, ext: Bytes, end: np.uint8, row: NDArray[np.int64], column: int, key: NDArray[np.int64]
) -> int:
    """Parse `EXT OFFSET SIZE KEY.EXT` and the character after it; returns the position after that, or -1."""
    if not _has(text, position, ext, _SPACE) or len(ext) == 0:
        return -1
    position += len(ext) + 1
    for i in range(column, column + 2):
        start, number = position, np.int64(0)
        while position < len(text) and position - start <= MAX_DIGITS and _ZERO <= text[position] <= _NINE:
            number = 10 * number + np.int64(text[position]) - np.int64(_ZERO)
            position += 1
        row[i] = number
        if position == start or position - start > MAX_DIGITS or position == len(text) or text[position] != _SPACE:
            return -1
        position += 1
    start = position
    while position < len(text) and position - start <= MAX_NAME and text[position] > _SPACE:
        position += 1
    length = position - start - len(ext) - 1
    if length < 1 or position - start > MAX_NAME:
        return -1
    if text[start + length] != _DOT or not _has(text, start + length + 1, ext, end):
        return -1
    key[0], key[1] = start, length
    return position + 1


@compiled
def _has(text: Bytes, position: int, word: Bytes, end: np.uint8) -> bool:
    """Whether `word` and then `end` are at `position`."""
    if position + len(word) >= len(text) or text[position + len(word)] != end:
        return False
    for i in range(len(word)):  # noqa: SIM110 - the compiler knows no `all`
        if text[position + i] != word[i]:
            return False
    return True


@compiled
def _copy_keys(text: Bytes, places: NDArray[np.int64], keys: Bytes) -> None:
    for line in range(len(keys)):
        start, length = places[line]
        for i in range(length):
            keys[line, i] = text[start + i]
