"""The stored samples of a shard set, by index: bytes as views of memory-mapped shards, labels and keys."""

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..prep import ShardSet


class Samples:
    """All samples of a shard set. Index i is the i-th sample in stored order, shard after shard.

    Raises ValueError, naming file and line, when an index does not fit its shard or a label its class table.
    """

    def __init__(self, shard_set: ShardSet) -> None:
        self.shard_set = shard_set
        shards = shard_set.manifest.shards
        indices = [shard_set.index(i) for i in range(len(shards))]
        self._first_index = np.cumsum([0] + [len(index) for index in indices])
        self._maps = [_map(shard_set.folder / shard.name) for shard in shards]
        self._keys = [index.keys for index in indices]
        self._offsets = np.concatenate([index.image_offsets for index in indices])
        self._sizes = np.concatenate([index.image_sizes for index in indices])
        self.labels = np.concatenate(
            [
                [
                    int(bytes(shard[offset : offset + size]))
                    for offset, size in zip(index.label_offsets, index.label_sizes, strict=True)
                ]
                for shard, index in zip(self._maps, indices, strict=True)
            ]
        ).astype(np.int64)

    def __len__(self) -> int:
        return int(self._first_index[-1])

    def images(self, indices_B: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """The content of the image members, as read-only views of the mapped shards."""
        shards = np.searchsorted(self._first_index, indices_B, side="right") - 1
        rows = zip(shards.tolist(), self._offsets[indices_B].tolist(), self._sizes[indices_B].tolist(), strict=True)
        return [self._maps[shard][offset : offset + size] for shard, offset, size in rows]

    def keys(self, indices_B: NDArray[np.int64]) -> list[str]:
        """The keys, as in the tars."""
        return [self._keys[shard][row] for shard, row in map(self._shard_and_row, indices_B.tolist())]

    def where(self, index: int) -> str:
        """Shard, key and offset of a sample, for an error."""
        shard, row = self._shard_and_row(index)
        path = self.shard_set.folder / self.shard_set.manifest.shards[shard].name
        return f"{path}: sample {self._keys[shard][row]!r} at offset {self._offsets[index]}"

    def _shard_and_row(self, index: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._first_index, index, side="right")) - 1
        return shard, index - int(self._first_index[shard])


def _map(path: Path) -> NDArray[np.uint8]:
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
