"""The stored samples of a shard set, by index: bytes as views of memory-mapped shards, labels and keys.

All shards are mapped side by side into one reserved range of addresses, so that the set is one array and a sample one
slice of it, whatever its shard. Mapped this way a shard needs no open file: sets of thousands of shards do not run into
the limit on those.
"""

import mmap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tarfile import BLOCKSIZE, HeaderError, TarInfo

import numpy as np
from numpy.typing import NDArray

from ...cores import num_cores
from ...errors import InputError
from ...prep import ShardSet
from ...prep.format.compiled import compiled
from ..addresses import map_side_by_side
from .truncation import watch

_LONGEST_LABEL = 9
_RELEASE_BYTES = 2**27  # read; about four times as much is mapped, since the system maps 64 kB around each read


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Where the image members of a batch lie in a set's `data`: `sizes_B` bytes from `starts_B` on."""

    starts_B: NDArray[np.int64]
    sizes_B: NDArray[np.int32]


class Samples:
    """All samples of a shard set. Index i is the i-th sample in stored order, shard after shard.

    `data` are the bytes of all shards side by side, each from a new page on. Beside them, about 30 bytes a sample and
    the keys. Every index is read and checked here. Raises InputError, naming file and line, when one does not fit its
    shard.
    """

    def __init__(self, shard_set: ShardSet) -> None:
        self.shard_set = shard_set
        shards = shard_set.manifest.shards
        paths = [shard_set.folder / shard.name for shard in shards]
        sizes = [shard.num_bytes for shard in shards]
        self._mapped, self._shard_starts = map_side_by_side(paths, sizes)
        self.data = np.frombuffer(self._mapped, np.uint8)
        watch(self.data, self._shard_starts, paths, sizes)
        self._unreleased_bytes = 0
        self._first_index = np.cumsum([0] + [shard.num_samples for shard in shards])
        num_samples = int(self._first_index[-1])
        self._starts, self._sizes = np.empty(num_samples, np.int64), np.empty(num_samples, np.int32)
        self._label_starts, self._label_sizes = np.empty(num_samples, np.int64), np.empty(num_samples, np.int8)
        self._keys: list[NDArray[np.bytes_]] = []
        with ThreadPoolExecutor(num_cores()) as threads:
            indexes = threads.map(shard_set.index, range(len(shards)))
            for number, (start, index) in enumerate(zip(self._shard_starts.tolist(), indexes, strict=True)):
                rows = slice(*self._first_index[number : number + 2].tolist())
                self._check_sizes(index.image_sizes, index.label_sizes, paths[number])
                self._starts[rows] = start + index.image_offsets
                self._sizes[rows] = index.image_sizes
                self._label_starts[rows] = start + index.label_offsets
                self._label_sizes[rows] = index.label_sizes
                self._keys.append(index.key_bytes)

    def __len__(self) -> int:
        return len(self._starts)

    def images(self, indices_B: NDArray[np.int64]) -> Stored:
        """Where the image members lie."""
        return Stored(starts_B=self._starts[indices_B], sizes_B=self._sizes[indices_B])

    def image(self, index: int) -> NDArray[np.uint8]:
        """The content of one image member, not copied."""
        start = int(self._starts[index])
        return self.data[start : start + int(self._sizes[index])]

    def labels(self, indices_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """The class indices. Raises InputError, naming the sample, for one that is not in the class table."""
        num_classes = len(self.shard_set.manifest.classes)
        labels_B = np.empty(len(indices_B), np.int64)
        num_good = _read_labels(
            self.data, self._label_starts[indices_B], self._label_sizes[indices_B], num_classes, labels_B
        )
        if num_good < len(indices_B):
            index = int(indices_B[num_good])
            start = int(self._label_starts[index])
            found = bytes(self.data[start : start + int(self._label_sizes[index])])
            raise InputError(
                f"{self.where(index)}: label {found!r}, but the class table has the classes 0 to {num_classes - 1}; "
                "the shard is damaged or from another set: restore it"
            )
        return labels_B

    def keys(self, indices_B: NDArray[np.int64]) -> list[str]:
        """The keys, as in the tars."""
        shards_B = np.searchsorted(self._first_index, indices_B, side="right") - 1
        rows_B = indices_B - self._first_index[shards_B]
        keys = self._keys
        return [keys[shard][row].decode() for shard, row in zip(shards_B.tolist(), rows_B.tolist(), strict=True)]

    def extras(self, indices_B: NDArray[np.int64], ext: str) -> list[bytes | None]:
        """The content of each sample's member KEY.`ext`, None where there is none; walks the tar around the sample."""
        return [
            self._extra(index, key, ext) for index, key in zip(indices_B.tolist(), self.keys(indices_B), strict=True)
        ]

    def _extra(self, index: int, key: str, ext: str) -> bytes | None:
        shard = int(np.searchsorted(self._first_index, index, side="right")) - 1
        starts_at, ends_at = self._first_index[shard : shard + 2].tolist()
        position = int(self._shard_starts[shard])
        if index > starts_at:
            last = index - 1
            position = max(
                int(self._starts[last]) + int(self._sizes[last]),
                int(self._label_starts[last]) + int(self._label_sizes[last]),
            )
            position += -position % BLOCKSIZE
        end = int(self._shard_starts[shard]) + self.shard_set.manifest.shards[shard].num_bytes
        if index + 1 < ends_at:
            end = min(int(self._starts[index + 1]), int(self._label_starts[index + 1])) - BLOCKSIZE
        while position + BLOCKSIZE <= end and self.data[position]:
            try:
                member = TarInfo.frombuf(self.data[position : position + BLOCKSIZE].tobytes(), "utf-8", "replace")
            except HeaderError as error:
                raise InputError(f"{self.where(index)}: no tar header before or after it ({error})") from None
            position += BLOCKSIZE
            if member.name == f"{key}.{ext}" and member.isreg():
                return bytes(self.data[position : min(position + member.size, end)])
            position += -(-member.size // BLOCKSIZE) * BLOCKSIZE
        return None

    def read_ahead(self, indices: NDArray[np.int64]) -> None:
        """Ask the system to read these samples from the disk; returns at once. Stored neighbors make one request."""
        if len(indices) == 0:
            return
        indices = np.sort(indices)
        breaks = np.flatnonzero(np.diff(indices) > 1) + 1
        first, last = indices[np.concatenate([[0], breaks])], indices[np.concatenate([breaks - 1, [-1]])]
        # Either member may come first in a tar that others wrote.
        starts = np.minimum(self._starts[first], self._label_starts[first]) // mmap.PAGESIZE * mmap.PAGESIZE
        ends = np.maximum(self._starts[last] + self._sizes[last], self._label_starts[last] + self._label_sizes[last])
        for start, size in zip(starts.tolist(), (ends - starts).tolist(), strict=True):
            self._mapped.madvise(mmap.MADV_WILLNEED, start, size)

    def release(self, num_bytes: int) -> None:
        """Take note that so many bytes were read; from time to time the pages read are given back.

        Else every page that was ever read would count as this process's memory, up to the size of the set. They stay in
        the system's cache, and a page that a thread is reading comes back by itself.
        """
        self._unreleased_bytes += num_bytes
        if self._unreleased_bytes >= _RELEASE_BYTES:
            self._mapped.madvise(mmap.MADV_DONTNEED)
            self._unreleased_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards."""
        return len(self.data)

    def where(self, index: int) -> str:
        """Shard, key and offset of a sample, for an error."""
        shard = int(np.searchsorted(self._first_index, index, side="right")) - 1
        path = self.shard_set.folder / self.shard_set.manifest.shards[shard].name
        (key,) = self.keys(np.array([index]))
        return f"{path}: sample {key!r} at offset {self._starts[index] - self._shard_starts[shard]}"

    def _check_sizes(self, image_sizes: NDArray[np.int64], label_sizes: NDArray[np.int64], path: Path) -> None:
        pixels = self.shard_set.manifest.pixels
        least, most = (3 * pixels.size_px**2,) * 2 if pixels.format == "raw" else (1, 2**31 - 1)
        for name, sizes, low, high in (
            ("an image", image_sizes, least, most),
            ("a label", label_sizes, 1, _LONGEST_LABEL),
        ):
            wrong = (sizes < low) | (sizes > high)
            if wrong.any():
                row = int(np.argmax(wrong))
                expected = f"{low}" if low == high else f"{low} to {high}"
                raise InputError(
                    f"{path.with_suffix('.idx')}:{row + 2}: {name} of {sizes[row]} bytes, expected {expected}; "
                    "restore the index"
                )


@compiled
def _read_labels(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int8],
    num_classes: int,
    labels: NDArray[np.int64],
) -> int:
    """How many labels, from the first on, are decimal numbers below `num_classes`."""
    for row in range(len(labels)):
        number = 0
        for digit in data[starts[row] : starts[row] + sizes[row]]:
            if not 48 <= digit <= 57:  # 0 to 9
                return row
            number = 10 * number + digit - 48
        if number >= num_classes:
            return row
        labels[row] = number
    return len(labels)
