"""The `.idx` beside a `.rec`: lines `KEY<tab>OFFSET`. It may be missing, in any order or stale.

It never decides where records are, with one exception: behind a damaged record, it tells where the next one begins.
"""

import bisect
from collections.abc import Sequence
from pathlib import Path

from ....errors import InputError
from ...storage.by_offset import opened
from ..remarks import Remarks

MAX_IDX_BYTES = 2**31


class Idx:
    """The offsets that an `.idx` lists, sorted, and the key of each."""

    def __init__(self, path: Path, key_of: dict[int, str]) -> None:
        self.path, self._key_of = path, key_of
        self.offsets: Sequence[int] = sorted(key_of)

    def key_at(self, offset: int) -> int | None:
        """The key of the record at `offset`, if it is listed and its key is a number."""
        key = self._key_of.get(offset, "")
        return int(key) if key.isdecimal() and key.isascii() else None

    def offset_of(self, key: int) -> int | None:
        """Where the record with this key begins."""
        return next((offset for offset, found in self._key_of.items() if found == str(key)), None)

    def after(self, offset: int) -> int | None:
        """The first listed offset after `offset`."""
        at = bisect.bisect_right(self.offsets, offset)
        return self.offsets[at] if at < len(self.offsets) else None

    def __contains__(self, offset: int) -> bool:
        return offset in self._key_of


def read_idx(rec: Path, remarks: Remarks) -> Idx | None:
    """The `.idx` of a `.rec`; None if there is none, or if it is not one, which is noted.

    Raises InputError if it lists records beyond the end of the `.rec`: the download of one of them is not complete.
    """
    path = rec.with_suffix(".idx")
    if not path.is_file():
        return None
    with opened(path) as file:
        content = file.read_at(0, min(file.num_bytes, MAX_IDX_BYTES))
    with opened(rec) as file:
        num_bytes = file.num_bytes
    fields = content.split()
    try:
        keys = [key.decode("ascii") for key in fields[::2]]
        key_of = dict(zip(map(int, fields[1::2]), keys, strict=True))
    except ValueError:
        remarks.note(f"{path}: not used, since it is not an index with lines KEY OFFSET")
        return None
    beyond = max(key_of, default=0)
    if key_of and beyond >= num_bytes:
        raise InputError(
            f"{path}: lists a record at byte {beyond}, but {rec.name} has only {num_bytes} bytes; if its download is "
            f"not complete, get it again, and if {path.name} is of another file, remove it"
        )
    return Idx(path, key_of)
