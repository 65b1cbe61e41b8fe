"""The stored samples of shard sets, by index: bytes as views of memory-mapped shards, labels, keys and checksums.

All shards are mapped side by side into one reserved range of addresses. The set is therefore one array, and each sample
is a slice of it, whatever its shard. A shard mapped this way needs no open file, so sets of thousands of shards do not
reach the limit on open files.
"""

import mmap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...prep import ShardSet
from ...prep.format.compiled import compiled
from ...prep.format.sample_index import SampleIndex, image_checksum
from ...prep.storage import Location
from ..addresses import map_file, reserve
from .members import find_member
from .truncation import watch

_RELEASE_BYTES = 2**27  # of reads; about four times as much is mapped, since the system maps 64 kB around each read


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Where the image members of a batch are in the samples' `data`."""

    starts_B: NDArray[np.int64]
    """First byte of each image."""
    sizes_B: NDArray[np.int32]
    """Bytes of each image."""


class Samples:
    """All samples of one shard set, or of several one after the other. Index i is the i-th sample in stored order.

    `data` holds the bytes of all shards side by side, each starting at a new page. The shards of a remote set come and
    go: `bring` calls `on_demand(shard)`, if it is set, for shards that may not be mapped, and `check_again` calls
    `on_corrupt(samples)` to download damaged copies again. Raises InputError, naming the file, if an index does not
    match its shards.
    """

    def __init__(self, shard_sets: Sequence[ShardSet]) -> None:
        self.shard_sets = tuple(shard_sets)
        self._paths = _Paths([(one.location, shard.name) for one in shard_sets for shard in one.manifest.shards])
        sizes = [shard.num_bytes for one in shard_sets for shard in one.manifest.shards]
        self._mapped, self.shard_starts = reserve(sizes)
        self._shard_ends = self.shard_starts + np.array(sizes, np.int64)
        self.data = np.frombuffer(self._mapped, np.uint8)
        self.on_demand: Callable[[int], None] | None = None
        self.on_corrupt: Callable[[Iterable[int]], None] | None = None
        base = self.data.ctypes.data
        for (location, name), start, size in zip(self._paths.pairs, self.shard_starts.tolist(), sizes, strict=True):
            if isinstance(location, Path):
                map_file(base + start, f"{location}/{name}", size)
        watch(self.data, self.shard_starts, self._paths, sizes)
        self._unreleased_bytes = 0
        self.indexes = [shard_set.sample_index() for shard_set in shard_sets]
        self._index = self.indexes[0] if len(self.indexes) == 1 else _joined(self.indexes)
        self.first_of_set = np.cumsum([0, *map(len, self.indexes)])
        for shard_set, index in zip(shard_sets, self.indexes, strict=True):
            _check_sizes(shard_set, index)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards, in whole pages."""
        return len(self.data)

    @property
    def has_checksums(self) -> bool:
        """Whether every image has a checksum."""
        return self._index.checksums_N is not None

    @property
    def first_of_shard(self) -> NDArray[np.int64]:
        """Where each shard starts among the samples, then the number of samples."""
        return np.array(self._index.first_S)  # a copy, which does not keep the file mapped

    @property
    def labels_N(self) -> NDArray[np.int32]:
        """The class number of every sample, -1 for samples without a label."""
        return self._index.labels_N

    def find(self, indices_B: NDArray[np.int64]) -> tuple[Stored, NDArray[np.int64]]:
        """Where the image members are, and the labels, int64 (B,)."""
        size, index = len(indices_B), self._index
        starts_B, sizes_B, labels_B = np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size, np.int64)
        columns = index.first_S, self.shard_starts, index.starts_N, index.sizes_N, index.labels_N
        _find(indices_B, columns, starts_B, sizes_B, labels_B)
        return Stored(starts_B=starts_B, sizes_B=sizes_B), labels_B

    def keys(self, indices_B: NDArray[np.int64]) -> list[str]:
        """The keys, as in the tars."""
        starts, content = self._index.key_starts, self._index.key_bytes
        spans = zip(starts[indices_B].tolist(), starts[indices_B + 1].tolist(), strict=True)
        return [content[start:end].tobytes().decode("utf-8", "replace") for start, end in spans]

    def check(self, indices_B: NDArray[np.int64]) -> dict[int, str]:
        """Which of these images fail their checksums, with the reasons as text; empty without checksums.

        Only reads mapped memory, so any thread may call it. In a remote set, first `bring` samples that may not be
        mapped.
        """
        if self._index.checksums_N is None:
            return {}
        stored, _ = self.find(indices_B)
        data, expected_B = self.data.data, self._index.checksums_N[indices_B].tolist()
        spans = zip(stored.starts_B.tolist(), (stored.starts_B + stored.sizes_B).tolist(), strict=True)
        found_B = [image_checksum(data[start:end]) for start, end in spans]
        return {
            index: f"its CRC32C is {found:08x}, the index says {expected:08x}"
            for index, found, expected in zip(indices_B.tolist(), found_B, expected_B, strict=True)
            if found != expected
        }

    def check_again(self, indices_B: NDArray[np.int64], corrupt: dict[int, str]) -> dict[int, str]:
        """What is still corrupt, of the samples that `check` found `corrupt`, after fetching damaged copies again.

        Only a remote set has copies to fetch. Not thread-safe. Raises OSError if the store cannot be read.
        """
        if self.on_corrupt is None:
            return corrupt
        self.on_corrupt(corrupt)
        return self.check(indices_B)

    def bring(self, indices_B: NDArray[np.int64]) -> None:
        """Map the shards of these samples. Not thread-safe."""
        if self.on_demand is not None:
            for shard in set((np.searchsorted(self._index.first_S, indices_B, side="right") - 1).tolist()):
                self.on_demand(shard)

    def extras(self, indices_B: NDArray[np.int64], ext: str) -> list[bytes | None]:
        """The content of each sample's member KEY.`ext`, None for samples without it."""
        return [self._extra(i, key, ext) for i, key in zip(indices_B.tolist(), self.keys(indices_B), strict=True)]

    def _extra(self, index: int, key: str, ext: str) -> bytes | None:
        """Searches the members between the neighbors' images."""
        shard = self._index.shard_of(index)
        base, starts_N = int(self.shard_starts[shard]), self._index.starts_N
        first, last = int(self._index.first_S[shard]), int(self._index.first_S[shard + 1])
        start, end = base, int(self._shard_ends[shard])
        if index > first:
            start = base + int(starts_N[index - 1]) + int(self._index.sizes_N[index - 1])
        if index + 1 < last:
            end = base + int(starts_N[index + 1])
        try:
            return find_member(self.data[start - (start - base) % -512 : end], key, ext)
        except InputError as error:
            raise InputError(f"{self.where(index)}: {error}") from None

    def read_ahead(self, indices: NDArray[np.int64]) -> None:
        """Ask the system to read these samples from the disk; returns at once. Stored neighbors share a request."""
        if len(indices) == 0:
            return
        indices = np.sort(indices)
        stored, _ = self.find(indices)
        shards = np.searchsorted(self._index.first_S, indices, side="right")
        breaks = np.flatnonzero((np.diff(indices) > 1) | (np.diff(shards) > 0)) + 1
        first, last = np.concatenate([[0], breaks]), np.concatenate([breaks - 1, [-1]])
        starts = stored.starts_B[first] // mmap.PAGESIZE * mmap.PAGESIZE
        ends = stored.starts_B[last] + stored.sizes_B[last]
        for start, size in zip(starts.tolist(), (ends - starts).tolist(), strict=True):
            self._mapped.madvise(mmap.MADV_WILLNEED, start, size)

    def release(self, num_bytes: int) -> None:
        """Record that `num_bytes` were read; from time to time, release the pages that were read.

        Otherwise every page ever read would count as this process's memory, up to the size of the set. Released pages
        stay in the page cache, and a page that a thread is reading is mapped again automatically.
        """
        self._unreleased_bytes += num_bytes
        if self._unreleased_bytes >= _RELEASE_BYTES:
            self._mapped.madvise(mmap.MADV_DONTNEED)
            self._unreleased_bytes = 0

    def where(self, index: int) -> str:
        """Shard, key and offset of a sample, for error messages."""
        path = self._paths[self._index.shard_of(index)]
        return f"{path}: sample {self._index.key(index)!r} at offset {self._index.starts_N[index]}"


class _Paths(Sequence[Location]):
    """The location of each shard, built on access: ten thousand paths take a tenth of a second."""

    def __init__(self, pairs: list[tuple[Location, str]]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, at: int) -> Location: ...
    @overload
    def __getitem__(self, at: slice) -> "_Paths": ...
    def __getitem__(self, at: int | slice) -> "Location | _Paths":
        if isinstance(at, slice):
            return _Paths(self.pairs[at])
        location, name = self.pairs[at]
        return location / name


def _check_sizes(shard_set: ShardSet, index: SampleIndex) -> None:
    pixels = shard_set.manifest.pixels
    least, most = (3 * pixels.size_px**2,) * 2 if pixels.format == "raw" else (1, 2**31 - 1)
    for start in range(0, len(index), 2**20):  # a few megabytes at a time
        sizes = index.sizes_N[start : start + 2**20]
        if int(sizes.min()) < least or int(sizes.max()) > most:
            row = start + int(np.argmax((sizes < least) | (sizes > most)))
            expected = f"{least}" if least == most else f"{least} to {most}"
            raise InputError(
                f"{shard_set.location}: sample {index.key(row)!r} has an image of {index.sizes_N[row]} bytes, expected "
                f"{expected}; restore the index"
            )


def _joined(indexes: Sequence[SampleIndex]) -> SampleIndex:
    """The samples of several sets one after the other, with checksums only if all sets have them."""
    samples = np.cumsum([0, *map(len, indexes)])
    keys = np.cumsum([0, *(len(index.key_bytes) for index in indexes)])
    checksums = [index.checksums_N for index in indexes if index.checksums_N is not None]
    return SampleIndex(
        first_S=np.concatenate(
            [*(index.first_S[:-1] + first for index, first in zip(indexes, samples, strict=False)), samples[-1:]]
        ),
        starts_N=np.concatenate([index.starts_N for index in indexes]),
        sizes_N=np.concatenate([index.sizes_N for index in indexes]),
        labels_N=np.concatenate([index.labels_N for index in indexes]),
        checksums_N=np.concatenate(checksums) if len(checksums) == len(indexes) else None,
        key_starts=np.concatenate(
            [*(index.key_starts[:-1] + first for index, first in zip(indexes, keys, strict=False)), keys[-1:]]
        ),
        key_bytes=np.concatenate([index.key_bytes for index in indexes]),
    )


Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32], NDArray[np.int32]]


@compiled
def _find(
    indices: NDArray[np.int64],
    columns: Columns,
    starts: NDArray[np.int64],
    sizes: NDArray[np.int32],
    labels: NDArray[np.int64],
) -> None:
    first_of_shard, shard_starts, image_starts, image_sizes, image_labels = columns
    for i in range(len(indices)):
        index = indices[i]
        shard = np.searchsorted(first_of_shard, index, side="right") - 1
        starts[i] = shard_starts[shard] + image_starts[index]
        sizes[i], labels[i] = image_sizes[index], image_labels[index]
