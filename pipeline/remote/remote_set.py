"""An open remote shard set: its local face, and its shards, which are fetched through the cache on demand."""

import hashlib
import logging
import os
from pathlib import Path
from typing import BinaryIO

from ...errors import InputError
from ...prep.format import ShardSet
from ...prep.format.files import naming
from ...prep.storage import ObjectStore, StoreUrl, parse_location
from .cache import WAIT_S, ShardCache
from .face import cache_of, local_face
from .limits import cache_folder, cache_limit

log = logging.getLogger(__name__)


class Stopped(InputError):
    """The loader was closed while a shard was being downloaded."""


class RemoteSet:
    """A shard set in an object store, and the cache of its shards."""

    def __init__(self, shard_set: ShardSet, cache: ShardCache) -> None:
        assert shard_set.url is not None
        self.shard_set, self.cache = shard_set, cache
        self._store = ObjectStore(shard_set.url)
        self._stopped = False

    def fetch(self, number: int, *, wait_s: float = WAIT_S) -> Path:
        """The local path of one shard, complete and leased; see `ShardCache.fetch`."""
        entry = self.shard_set.manifest.shards[number]

        def download(file: BinaryIO) -> None:
            self._store.download(entry.name, _Stoppable(file, self), num_bytes=entry.num_bytes, sha256=entry.sha256)

        return self.cache.fetch(entry.sha256, entry.num_bytes, download, wait_s=wait_s)

    def fetch_sound(self, number: int) -> Path:
        """Like `fetch`, for a shard whose copy may be damaged by now: it is hashed, and fetched again if it is.

        Of several processes that find the same damage, one fetches the shard again.
        """
        entry, path = self.shard_set.manifest.shards[number], self.fetch(number)
        # Open until it is discarded, so that no newer copy is taken for the one that was hashed.
        with naming(path), path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256:
                return path
            if self.cache.discard(entry.sha256, file):
                log.warning("%s: this copy of %s was damaged on the disk; it is fetched again", path, entry.name)
        return self.fetch(number)

    def release(self, number: int) -> None:
        """End the lease on a shard that is no longer mapped."""
        self.cache.release(self.shard_set.manifest.shards[number].sha256)

    def close(self) -> None:
        """Stop running downloads and release everything."""
        self._stopped = True
        self.cache.close()


class _Stoppable:
    """A file that refuses more content once its set is closed."""

    def __init__(self, file: BinaryIO, remote: RemoteSet) -> None:
        self._file, self._remote = file, remote
        self.seek = file.seek

    def write(self, content: bytes) -> int:
        if self._remote._stopped:
            raise Stopped(f"{self._remote.shard_set.url}: closed while a shard was being downloaded")
        return self._file.write(content)


def open_set(
    location: str | os.PathLike[str] | StoreUrl, cache: str | Path | None, limit: str | int | None
) -> tuple[ShardSet, RemoteSet | None]:
    """Open a local shard set, or a remote one with the cache through which its shards are fetched.

    Args:
        location: A folder, a URL such as s3://bucket/shards/train, or the local face of a remote set.
        cache: The cache's folder; None means ALEXKIT_CACHE.
        limit: The cache's limit; None means ALEXKIT_CACHE_LIMIT.

    Raises InputError for a set that is missing or incomplete, and for a remote set without a cache.
    """
    found = parse_location(location if isinstance(location, StoreUrl) else os.fspath(location))
    folder = local_face(found, cache_folder(cache, where=found)) if isinstance(found, StoreUrl) else found
    shard_set = ShardSet.open(folder)
    if shard_set.url is None:
        return shard_set, None
    return shard_set, open_shards(shard_set, limit)


def open_shards(shard_set: ShardSet, limit: str | int | None) -> RemoteSet:
    """The shards of a remote set whose local face is open; `limit` as for `open_set`."""
    where, name = cache_of(shard_set.folder)
    own = ShardCache(where, limit_bytes=cache_limit(limit, where))
    try:
        own.hold_set(name)
    except BaseException:
        own.close()
        raise
    return RemoteSet(shard_set, own)
