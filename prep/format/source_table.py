"""`sources.jsonl`: which file every sample was made from, one JSON line each, in stored order.

    {"key": "00000012_daisy_42_n", "source": "train/daisy/42_n.jpg"}

`source` is the path relative to the folder or URL that was sharded; for a file in a tar or another file of many, it is
that file's path, a colon and the name in it.
"""

import hashlib
import json
import mmap
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from ...errors import InputError
from .files import naming, whole_file

SOURCES_NAME = "sources.jsonl"
_as_json = json.JSONEncoder(ensure_ascii=False).encode
_WHOLE_PATH = re.compile(rb'"source": ("(?:/|[a-z0-9]+://)(?:[^"\\]|\\.)*")')


def source_lines(rows: Iterable[tuple[str, str]]) -> bytes:
    """The lines for samples, given the key and the source of each in order."""
    return b"".join([_line(key, source) for key, source in rows])


def write_source_table(folder: Path, blocks: Iterable[bytes]) -> str:
    """Write `folder/sources.jsonl`, whole, from the `source_lines` of all samples in order; returns its SHA-256."""
    path, digest = folder / SOURCES_NAME, hashlib.sha256()
    with whole_file(path) as file:
        for block in blocks:
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


def find_source(folder: Path, key: str) -> str:
    """The source of the sample `key`, from `folder/sources.jsonl`.

    Raises InputError, naming the file, if it has no such key or the line is damaged.
    """
    path = folder / SOURCES_NAME
    wanted = json.dumps({"key": key})[:-1].encode()
    with path.open("rb") as file:
        # Mapped and searched, not parsed: for a million samples the file has a hundred megabytes.
        if os.fstat(file.fileno()).st_size:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                start = 0 if content[: len(wanted) + 1] == wanted + b"," else content.find(b"\n" + wanted + b",") + 1
                if start or content[: len(wanted)] == wanted:
                    end = content.find(b"\n", start)
                    return _source_of(content[start : end if end > 0 else len(content)], path)
    raise InputError(f"{path}: no sample has the key {key!r}; keys are the names in the tars without their extensions")


def sources_at(folder: Path, indices: Collection[int]) -> dict[int, str]:
    """The sources of samples, by position in the set, read in one pass; empty for a set that has no such file."""
    path, wanted = folder / SOURCES_NAME, set(indices)
    if not path.exists():
        return {}
    with naming(path), path.open("rb") as file:
        return {index: _source_of(line, path) for index, line in enumerate(file) if index in wanted}


def whole_paths(folder: Path) -> tuple[int, str]:
    """How many lines of `folder/sources.jsonl` hold an absolute path or a URL, and the first such path.

    A list may contain paths outside its own folder, which reveal names on the disk of whoever made the set. For a set
    without the file the count is 0.
    """
    path = folder / SOURCES_NAME
    if not path.exists() or not path.stat().st_size:
        return 0, ""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        count, example = 0, b'""'
        for count, found in enumerate(_WHOLE_PATH.finditer(content), 1):
            example = found[1] if count == 1 else example
        return count, str(json.loads(example))


def _line(key: str, source: str) -> bytes:
    row = {"key": key, "source": source}
    try:
        # Takes a third of the time of a new encoder for every line; a large set has millions.
        return f'{{"key": {_as_json(key)}, "source": {_as_json(source)}}}\n'.encode()
    except UnicodeEncodeError:  # a name that is not UTF-8
        return json.dumps(row).encode() + b"\n"


def _source_of(line: bytes, path: Path) -> str:
    try:
        return str(json.loads(line)["source"])
    except (ValueError, KeyError):
        raise InputError(f"{path}: damaged line {line[:80]!r}; run 'alexprep repair SHARDS SOURCE'") from None
