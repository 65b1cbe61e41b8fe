"""The `.idx` beside a `.rec`: lines `KEY<tab>OFFSET`. It may be missing, in any order or stale.

It never decides where records are, with one exception: after a damaged record, it tells where the next one begins.
"""

import io
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ...storage.by_offset import opened
from ..remarks import Remarks

MAX_IDX_BYTES = 2**31


class Idx:
    """The offsets that an `.idx` lists, sorted, and the key of each."""

    def __init__(self, path: Path, keys_N: NDArray[np.uint64], offsets_N: NDArray[np.uint64]) -> None:
        self.path = path
        self.offsets_N, first_N = np.unique(offsets_N, return_index=True)
        self._keys_N = keys_N[first_N]

    def key_at(self, offset: int) -> int | None:
        """The key of the record at `offset`; None if it is not listed."""
        return int(self._keys_N[self._place(offset)]) if offset in self else None

    def offset_of(self, key: int) -> int | None:
        """Where the record with this key begins."""
        places = np.flatnonzero(self._keys_N == key)
        return int(self.offsets_N[places[0]]) if len(places) else None

    def after(self, offset: int) -> int | None:
        """The first listed offset after `offset`."""
        at = self._place(offset + 1)
        return int(self.offsets_N[at]) if at < len(self.offsets_N) else None

    def __contains__(self, offset: int) -> bool:
        at = self._place(offset) if offset >= 0 else len(self.offsets_N)
        return at < len(self.offsets_N) and int(self.offsets_N[at]) == offset

    def _place(self, offset: int) -> int:
        return int(self.offsets_N.searchsorted(np.uint64(offset)))


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
    keys, offsets = array("Q"), array("Q")
    try:
        for line in io.BytesIO(content):
            if line.strip():
                key, offset = line.split()
                keys.append(int(key))
                offsets.append(int(offset))
    except (ValueError, OverflowError):
        remarks.note(f"{path}: not used, since it is not an index with lines KEY OFFSET and numbers as keys")
        return None
    beyond = max(offsets, default=0)
    if offsets and beyond >= num_bytes:
        raise InputError(
            f"{path}: lists a record at byte {beyond}, but {rec.name} has only {num_bytes} bytes; if its download is "
            f"not complete, get it again, and if {path.name} is of another file, remove it"
        )
    return Idx(path, np.array(keys, np.uint64), np.array(offsets, np.uint64))
