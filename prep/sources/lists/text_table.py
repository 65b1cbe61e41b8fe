"""Text files that people bring, read line by line, so that every error names the file and the line."""

import csv
from collections.abc import Iterator
from pathlib import Path

from ....errors import InputError

DELIMITERS = ",\t;"
MAX_LINE_BYTES = 2**20


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers from 1, line ends kept; InputError names a line that is not UTF-8 or too long."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes; this is no list")
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise InputError(f"{path}, line {number}: not UTF-8; save the file as UTF-8") from None


def path_and_label(where: str, line: str) -> tuple[str, str]:
    """The two fields of a line `PATH LABEL`: around its tab, else the label is what follows the last space.

    Raises InputError for a line without two fields, or with more than one tab.
    """
    line = line.strip()
    written, _, label = line.partition("\t") if "\t" in line else line.rpartition(" ")
    written, label = written.strip(), label.strip()
    if not written or not label or "\t" in label:
        raise InputError(
            f"{where}: {line!r}; expected a path and a label, with one tab between them where labels hold spaces"
        )
    return written, label


def csv_rows(path: Path, columns: tuple[str, ...] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows by column name with their line numbers; further columns are kept, empty lines are not rows.

    Fields are separated by commas or, where the header has none, by tabs or semicolons; spaces around the names of
    columns are dropped. InputError names file and line: a header that lacks one of `columns` or has a name twice, a row
    with more or fewer fields, a quote that is not closed.
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
                    f"{path}, line {reader.line_num}: {len(fields)} fields, the header has {len(header)}; "
                    "put a field that holds a comma in quotes"
                )
            yield reader.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV ({error})") from None
