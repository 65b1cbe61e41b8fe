"""A remote shard set, opened: manifest, index and statistics in the cache, shards fetched when they are asked for."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import InputError
from ...prep.format import ShardSet
from ...prep.format.files import whole_file
from ...prep.format.manifest import MANIFEST_NAME, STATISTICS_NAME, Manifest, manifest_digest
from ...prep.format.sample_index import SAMPLE_INDEX_NAME
from ...prep.storage import ObjectStore, StoreUrl, parse_location
from .cache import WAIT_S, ShardCache
from .limits import cache_settings

_READS = 3  # of a manifest that does not match its own hash, before it is called damaged


def open_set(
    location: str | os.PathLike[str] | StoreUrl, cache: str | Path | None, cache_limit: str | int | None
) -> tuple[ShardSet, "RemoteSet | None"]:
    """A local shard set, or a remote one and the cache through which its shards come.

    Args:
        location: A folder, or an address such as s3://bucket/shards/train.
        cache: The cache's folder; ALEXKIT_CACHE unless told.
        cache_limit: Its limit; ALEXKIT_CACHE_LIMIT unless told.

    Raises InputError for a set that is not there or not whole, and for a remote set without a cache.
    """
    found = parse_location(location if isinstance(location, StoreUrl) else os.fspath(location))
    if isinstance(found, Path):
        return ShardSet.open(found), None
    folder, limit = cache_settings(cache, cache_limit, where=found)
    own = ShardCache(folder, limit_bytes=limit)
    try:
        remote = RemoteSet(found, own)
    except BaseException:
        own.close()
        raise
    return remote.shard_set, remote


class Stopped(InputError):
    """The loader was closed while a shard was on its way."""


class RemoteSet:
    """A shard set in a store and its cache. `shard_set` is its local face: all but the shards."""

    def __init__(self, url: StoreUrl, cache: ShardCache) -> None:
        self.url = url
        self.cache = cache
        self._store = ObjectStore(url)
        self._stopped = False
        content, data = self._manifest()
        folder = cache.hold_set(hashlib.sha256(content).hexdigest()[:32])
        with _one_at_a_time(folder):
            if not (folder / MANIFEST_NAME).exists():
                self._fill(folder, content, data)
        self.shard_set = ShardSet(folder=folder, manifest=Manifest.read(folder), url=url)

    def fetch(self, number: int, *, wait_s: float = WAIT_S) -> Path:
        """The local path of one shard, whole and leased; see `ShardCache.fetch`."""
        entry = self.shard_set.manifest.shards[number]

        def download(file: BinaryIO) -> None:
            self._store.download(entry.name, _Stoppable(file, self), num_bytes=entry.num_bytes, sha256=entry.sha256)

        return self.cache.fetch(entry.sha256, entry.num_bytes, download, wait_s=wait_s)

    def release(self, number: int) -> None:
        """Say that the shard is not mapped any more."""
        self.cache.release(self.shard_set.manifest.shards[number].sha256)

    def close(self) -> None:
        """Stop downloads that are under way and release everything."""
        self._stopped = True
        self.cache.close()

    def _manifest(self) -> tuple[bytes, dict[str, Any]]:
        """The manifest as bytes and as JSON, which hold together by their own hash."""
        for _ in range(_READS):
            try:
                content = self._store.read(MANIFEST_NAME)
            except FileNotFoundError:
                raise InputError(
                    f"{self.url}: no {MANIFEST_NAME} here, so this is not a finished shard set; name the split, as in "
                    f"{self.url / 'train'}, or write the set with 'alexprep shard SOURCE --out URL'"
                ) from None
            try:
                data = json.loads(content)
            except ValueError:
                continue
            if isinstance(data, dict) and data.pop("manifest_sha256", None) == manifest_digest(data):
                return content, data
        raise InputError(f"{self.url / MANIFEST_NAME}: damaged, its own SHA-256 differs; restore it")

    def _fill(self, folder: Path, content: bytes, data: dict[str, Any]) -> None:
        """Bring the small files; the manifest last, as everywhere."""
        if not data.get("index_sha256"):
            raise InputError(
                f"{self.url}: a set of format {data.get('format_version')!r} without {SAMPLE_INDEX_NAME}; copy it to a "
                "local disk and use it there, or shard the images again"
            )
        for name, field in ((STATISTICS_NAME, "statistics_sha256"), (SAMPLE_INDEX_NAME, "index_sha256")):
            size = self._store.stat(name).num_bytes
            with whole_file(folder / name) as file:
                self._store.download(name, file, num_bytes=size, sha256=str(data.get(field)))
        with whole_file(folder / MANIFEST_NAME) as file:
            file.write(content)


class _Stoppable:
    """A file that refuses more content once its set is closed."""

    def __init__(self, file: BinaryIO, remote: RemoteSet) -> None:
        self._file, self._remote = file, remote
        self.seek = file.seek

    def write(self, content: bytes) -> int:
        if self._remote._stopped:
            raise Stopped(f"{self._remote.url}: closed while a shard was on its way")
        return self._file.write(content)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
