"""Reads users' text files line by line, so that every error names the file and the line."""

import csv
from collections.abc import Iterator
from pathlib import Path

from ....errors import InputError

DELIMITERS = ",\t;"
MAX_LINE_BYTES = 2**20
MAX_CLASS_FILE_BYTES = 2**26


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line numbers from 1 and lines with line ends; raises InputError for lines not in UTF-8 or too long."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes; this is not a list")
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise InputError(f"{path}, line {number}: not UTF-8; save the file as UTF-8") from None


def class_lines(path: Path) -> list[str]:
    """The stripped lines of a file with one class each, in the order of their numbers, without empty ones at the end.

    Raises InputError, naming the line, for an empty line between others, and for a file that is too large or not text.
    """
    if (num_bytes := path.stat().st_size) > MAX_CLASS_FILE_BYTES:
        raise InputError(f"{path}: {num_bytes:,} bytes, more than {MAX_CLASS_FILE_BYTES:,}; this is no list of classes")
    lines = [line.strip() for _, line in text_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise InputError(
            f"{path}, line {lines.index('') + 1}: empty; expected one class per line, in the order of their numbers: "
            "correct it, or remove it to name the classes by number"
        )
    return lines


def path_and_label(where: str, line: str) -> tuple[str, str]:
    """Split a line `PATH LABEL` at its tab or, without one, at its last space.

    Raises InputError for a line without two fields, or with more than one tab.
    """
    line = line.strip()
    written, _, label = line.partition("\t") if "\t" in line else line.rpartition(" ")
    written, label = written.strip(), label.strip()
    if not written or not label or "\t" in label:
        is_path = "/" in line and not any(map(str.isspace, line))
        raise InputError(
            f"{where}: {line!r}; expected a path and a label, with one tab between them if labels contain spaces"
            + ("; if the list divides class folders into splits, pass the folder that contains both" if is_path else "")
        )
    return written, label


def csv_rows(path: Path, columns: tuple[str, ...] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line numbers and rows by column name; other columns are kept, empty lines are skipped.

    Fields are separated by commas or, if the header has none, by tabs or semicolons; spaces around column names are
    dropped. Raises InputError, naming file and line, for a header that lacks one of `columns` or repeats a name, a row
    with more or fewer fields, and an unclosed quote.
    """
    first = next((line for _, line in text_lines(path)), "")
    delimiter = next((one for one in DELIMITERS if one in first), ",")
    reader = csv.reader((line for _, line in text_lines(path)), strict=True, delimiter=delimiter, skipinitialspace=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if any(header.count(column) != 1 for column in columns) or len(set(header)) != len(header):
            raise InputError(
                f"{path}, line 1: the header is {','.join(header)!r}; "
                f"expected the columns {', '.join(columns)}, each once"
            )
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(fields)} fields, but the header has {len(header)}; "
                    "put fields that contain a comma in quotes"
                )
            yield reader.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV ({error})") from None
