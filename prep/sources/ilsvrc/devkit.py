"""The ILSVRC devkit: the classes by number, and the class number of every validation and test image.

The ground truth of a test set was only published for 2010, as a separate file that may be in the devkit or beside it.
"""

import gzip
import re
import zlib
from dataclasses import dataclass, replace
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
_TRUTH = re.compile(r"ILSVRC(20\d\d)_(validation|test)_ground_truth\.txt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Devkit:
    """The contents of a devkit."""

    ids: dict[int, str]
    """WordNet id by class number."""
    names: dict[str, str]
    """Readable class name by WordNet id."""
    year: str
    """The year of the challenge."""
    truth: dict[str, tuple[int, ...]]
    """Class numbers of all images, in order, by split: `val` and possibly `test`."""


def find_devkit(folder: Path, remarks: Remarks) -> Devkit | None:
    """Read the devkit in `folder`, an archive or unpacked; None if there is none."""
    beside = {
        path.name: path for path in sorted(folder.glob("ILSVRC20*_ground_truth.txt")) if _TRUTH.fullmatch(path.name)
    }
    devkit = _devkit_in(folder, remarks)
    if devkit is None:
        return None
    remarks.used.update(map(str, beside.values()))
    return _with_truth(devkit, {name: _bounded(path) for name, path in beside.items()}, folder)


def _devkit_in(folder: Path, remarks: Remarks) -> Devkit | None:
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
    truth = {one.name: _bounded(one) for one in sorted(data.iterdir()) if _TRUTH.fullmatch(one.name)}
    return _devkit(path, _bounded(data / _META_NAME), truth)


def _bounded(path: Path) -> bytes:
    if (num_bytes := path.stat().st_size) > MAX_MEMBER_BYTES:
        raise InputError(f"{path}: {num_bytes} bytes; this is not a file of the devkit: download it again")
    return path.read_bytes()


def read_devkit(path: Path) -> Devkit:
    """Read `meta.mat` and the ground truth out of a devkit archive.

    Takes no more memory than these files, whatever the archive claims. Raises InputError, saying what is missing or
    damaged.
    """
    meta, truth = None, {}
    with scratch_file() as unpacked:
        size = _unpack(path, unpacked)
        for member in tar_members(DiskFile(unpacked.fileno()), path, 0, size):
            name = member.name.rpartition("/")[2]
            if name != _META_NAME and not _TRUTH.fullmatch(name):
                continue
            if member.num_bytes > MAX_MEMBER_BYTES:
                raise InputError(f"{path}: {name} of {member.num_bytes} bytes; this is not a devkit: download it again")
            unpacked.seek(member.offset)
            content = unpacked.read(member.num_bytes)
            if name == _META_NAME:
                meta = content
            else:
                truth[name] = content
    if meta is None:
        raise InputError(f"{path}: holds no meta.mat; download the devkit again")
    return _devkit(path, meta, truth)


def _devkit(path: Path, meta: bytes, truth: dict[str, bytes]) -> Devkit:
    rows = read_meta(meta, path)
    validation = next((found for name in truth if (found := _TRUTH.fullmatch(name)) and found[2] == "validation"), None)
    if validation is None:
        raise InputError(f"{path}: holds no validation ground truth; download the devkit again")
    devkit = Devkit(
        ids={number: wordnet_id for number, wordnet_id, _ in rows},
        names={wordnet_id: words for _, wordnet_id, words in rows},
        year=validation[1],
        truth={},
    )
    return _with_truth(devkit, truth, path)


def _with_truth(devkit: Devkit, files: dict[str, bytes], path: Path) -> Devkit:
    """The devkit with those of the ground truth `files`, by name, that are of its year; `path` is where they are."""
    truth = dict(devkit.truth)
    for name, content in files.items():
        found = _TRUTH.fullmatch(name)
        if found is None or found[1] != devkit.year:
            continue
        lines = content.split()
        if wrong := next((line for line in lines if not re.fullmatch(rb"\d{1,9}", line)), None):
            word = wrong[:40].decode("utf-8", "replace")
            raise InputError(f"{path}: {name} is damaged ({word!r} is not a class number); download it again")
        truth["val" if found[2] == "validation" else "test"] = tuple(map(int, lines))
    return replace(devkit, truth=truth)


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
