"""Stored images one by one, by index, for inspection: from a local set, or through the cache of a remote one."""

import functools
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...prep.format import ShardSet
from ...prep.format.sample_index import SampleIndex, image_checksum
from ...prep.storage.by_offset import opened
from .remote_set import open_shards


class StoredImages:
    """The image members of a shard set, each read separately; nothing stays mapped or leased between reads."""

    def __init__(
        self, shard_set: ShardSet, index: SampleIndex | None = None, *, cache_limit: int | None = None
    ) -> None:
        self.shard_set = shard_set
        self.index = shard_set.sample_index() if index is None else index
        self._cache_limit = cache_limit

    def content(self, i: int) -> bytes:
        """The bytes of sample i's image: an encoded file, or the height * width * 3 bytes of a raw image.

        Raises InputError naming shard, key and offset if the bytes fail their checksum, OSError if the shard cannot be
        read or fetched.
        """
        number = self.index.shard_of(i)
        if self.shard_set.url is None:
            content = self._read(self.shard_set.folder / self.shard_set.manifest.shards[number].name, i)
        else:
            remote = open_shards(self.shard_set, self._cache_limit)
            try:
                content = self._read(remote.fetch(number), i)
                if self._is_damaged(content, i):
                    content = self._read(remote.fetch_sound(number), i)
            finally:
                remote.close()
        if self._is_damaged(content, i):
            raise InputError(
                f"{self.where(i)}: its CRC32C does not match the index, so it was damaged on the disk or during a "
                "copy; restore it with 'alexprep repair SHARDS SOURCE'"
            )
        return content

    def where(self, i: int) -> str:
        """Shard, key and offset of sample i, for messages."""
        shard = self.shard_set.location / self.shard_set.manifest.shards[self.index.shard_of(i)].name
        return f"{shard}: sample {self.index.key(i)!r} at offset {self.index.starts_N[i]}"

    def __reduce__(self) -> tuple[Any, ...]:
        """The index is a mapped file, so another process opens it again."""
        return functools.partial(StoredImages, cache_limit=self._cache_limit), (self.shard_set,)

    def _is_damaged(self, content: bytes, i: int) -> bool:
        return self.index.checksums_N is not None and image_checksum(content) != int(self.index.checksums_N[i])

    def _read(self, path: Path, i: int) -> bytes:
        with opened(path) as file:
            return file.read_at(int(self.index.starts_N[i]), int(self.index.sizes_N[i]))
