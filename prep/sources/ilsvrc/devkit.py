"""The ILSVRC devkit: the classes by number, and the class number of every validation image."""

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....errors import InputError
from ...format.files import scratch_file
from ...storage.by_offset import DiskFile
from ..remarks import Remarks
from ..tars.tar_index import tar_members
from .matlab import read_matlab

DEVKIT_PATTERNS = ("ILSVRC20*devkit*.tar.gz", "devkit-*.tar.gz")
MAX_DEVKIT_BYTES = 2**28  # unpacked; real ones are a tenth of this
MAX_MEMBER_BYTES = 2**26
_CHUNK = 2**20
_META_NAME = "meta.mat"
_TRUTH = re.compile(r"ILSVRC20\d\d_validation_ground_truth\.txt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Devkit:
    """The contents of a devkit."""

    ids: dict[int, str]
    """WordNet id by class number."""
    names: dict[str, str]
    """Readable class name by WordNet id."""
    validation: tuple[int, ...]
    """The class number of every validation image, in order."""


def find_devkit(folder: Path, remarks: Remarks) -> Devkit | None:
    """Read the devkit in `folder`, an archive or unpacked; None if there is none."""
    path = next((path for pattern in DEVKIT_PATTERNS for path in sorted(folder.glob(pattern))), None)
    if path is not None:
        remarks.used.add(str(path))
        return read_devkit(path)
    for path in sorted(folder.glob("*devkit*")):
        data = next((one for one in (path / "data", path) if (one / _META_NAME).is_file()), None)
        if data is not None:
            remarks.used.add(str(path))
            return _read_unpacked(path, data)
    return None


def open_devkit(path: Path) -> Devkit:
    """Read the devkit at `path`: an archive, unpacked, or a folder with either. Raises InputError if there is none."""
    if path.is_file():
        return read_devkit(path)
    data = next((one for one in (path / "data", path) if (one / _META_NAME).is_file()), None)
    devkit = find_devkit(path, Remarks()) if data is None else _read_unpacked(path, data)
    if devkit is None:
        raise InputError(f"{path}: no devkit; pass an archive such as ILSVRC2012_devkit_t12.tar.gz, or its folder")
    return devkit


def _read_unpacked(path: Path, data: Path) -> Devkit:
    meta = data / _META_NAME
    truth = next((one for one in sorted(data.iterdir()) if _TRUTH.fullmatch(one.name)), None)
    if truth is None:
        raise InputError(f"{path}: holds no validation ground truth in {data.name}/; unpack the devkit again")
    for one in (meta, truth):
        if one.stat().st_size > MAX_MEMBER_BYTES:
            raise InputError(f"{one}: {one.stat().st_size} bytes; this is not a devkit: unpack it again")
    return _devkit(path, meta.read_bytes(), truth.read_bytes())


def read_devkit(path: Path) -> Devkit:
    """Read `meta.mat` and the validation ground truth out of a devkit archive.

    Takes no more memory than these two files, whatever the archive claims. Raises InputError, saying what is missing or
    damaged.
    """
    meta = truth = None
    with scratch_file() as unpacked:
        size = _unpack(path, unpacked)
        for member in tar_members(DiskFile(unpacked.fileno()), path, 0, size):
            name = member.name.rpartition("/")[2]
            is_truth = _TRUTH.fullmatch(name) is not None
            if not (is_truth or name == _META_NAME):
                continue
            if member.num_bytes > MAX_MEMBER_BYTES:
                raise InputError(f"{path}: {name} of {member.num_bytes} bytes; this is not a devkit: download it again")
            unpacked.seek(member.offset)
            content = unpacked.read(member.num_bytes)
            meta, truth = (meta, content) if is_truth else (content, truth)
    if meta is None or truth is None:
        raise InputError(f"{path}: holds no meta.mat or no validation ground truth; download the devkit again")
    return _devkit(path, meta, truth)


def _devkit(path: Path, meta: bytes, truth: bytes) -> Devkit:
    rows = read_meta(meta, path)
    lines = truth.split()
    if wrong := next((line for line in lines if not re.fullmatch(rb"\d{1,9}", line)), None):
        found = wrong[:40].decode("utf-8", "replace")
        raise InputError(f"{path}: a damaged ground truth ({found!r} is not a class number); download the devkit again")
    return Devkit(
        ids={number: wordnet_id for number, wordnet_id, _ in rows},
        names={wordnet_id: words for _, wordnet_id, words in rows},
        validation=tuple(map(int, lines)),
    )


def read_meta(content: bytes, path: Path) -> list[tuple[int, str, str]]:
    """Number, WordNet id and name of every row of `meta.mat`; raises InputError if it is damaged."""
    try:
        synsets = read_matlab(content).get("synsets")
        if not isinstance(synsets, list) or not synsets:
            raise InputError("no table of synsets")
        return [_row(row) for row in synsets]
    except InputError as error:
        raise InputError(f"{path}: a damaged meta.mat ({error}); download the devkit again") from None


def _row(row: object) -> tuple[int, str, str]:
    fields = row if isinstance(row, dict) else {}
    numbers = next((value for field, value in fields.items() if field in ("ILSVRC2010_ID", "ILSVRC2012_ID")), None)
    wordnet_id, words = fields.get("WNID"), fields.get("words")
    number = numbers[0] if isinstance(numbers, list) and len(numbers) == 1 else None
    if not isinstance(number, int | float) or number != number // 1 or not isinstance(words, str) or not words:
        raise InputError(f"a row with the number {number!r} and the name {words!r}")
    if not isinstance(wordnet_id, str) or not re.fullmatch(r"n\d{8}", wordnet_id):
        raise InputError(f"a row with the id {wordnet_id!r}")
    return int(number), wordnet_id, words


def _unpack(path: Path, unpacked: Any) -> int:
    """Unpack a gzip file of up to `MAX_DEVKIT_BYTES`; returns its unpacked size."""
    size = 0
    try:
        with gzip.open(path) as packed:
            while chunk := packed.read(_CHUNK):
                size += len(chunk)
                if size > MAX_DEVKIT_BYTES:
                    raise InputError(f"{path}: unpacks to more than {MAX_DEVKIT_BYTES} bytes; this is not a devkit")
                unpacked.write(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a devkit archive ({error}); download it again") from None
    unpacked.flush()
    return size
