"""The shard sets of a loader: a local or remote one, or several compatible local ones."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..prep import ShardSet
from ..prep.storage import StoreUrl
from .remote import RemoteSet, open_set


def open_sets(
    folder: Any, cache: str | Path | None, cache_limit: str | int | None
) -> tuple[list[ShardSet], RemoteSet | None]:
    """Open the sets at `folder`, and the cache if the set is remote.

    Raises InputError if one is not a shard set or holds no images, or if their classes or pixel options differ.
    """
    if isinstance(folder, str | os.PathLike | StoreUrl):
        shard_set, remote = open_set(folder, cache, cache_limit)
        with closed_on_error(remote):
            require_images(shard_set)
        return [shard_set], remote
    if not isinstance(folder, Sequence) or isinstance(folder, bytes) or not folder:
        raise InputError(f"folder must be the path of a shard set, or a list of them, got {folder!r}")
    shard_sets: list[ShardSet] = []
    for one in folder:
        shard_set, remote = open_set(one, cache, cache_limit)
        with closed_on_error(remote):
            require_images(shard_set)
            if remote is not None:
                raise InputError(
                    f"{shard_set.location}: remote, but only local shard sets can be loaded together; copy it to a "
                    "local disk first"
                )
        shard_sets.append(shard_set)
    first = shard_sets[0]
    for shard_set in shard_sets:
        a, b = first.manifest.pixels, shard_set.manifest.pixels
        if (a.size_px, a.format, a.fit) != (b.size_px, b.format, b.fit):
            raise InputError(
                f"{shard_set.location}: stores {b.size_px} px, {b.format}, fit {b.fit}, but {first.location} stores "
                f"{a.size_px} px, {a.format}, fit {a.fit}; to load them together, shard both with the same options"
            )
        if [entry.id for entry in first.manifest.classes] != [entry.id for entry in shard_set.manifest.classes]:
            raise InputError(
                f"{shard_set.location}: its classes differ from those of {first.location}; shard both with the same "
                "class table"
            )
    return shard_sets, None


@contextmanager
def closed_on_error(remote: RemoteSet | None) -> Iterator[None]:
    """Close the set's cache if the block raises; None stands for a local set."""
    try:
        yield
    except BaseException:
        if remote is not None:
            remote.close()
        raise


def require_images(shard_set: ShardSet) -> None:
    """Raise InputError if the set holds no images."""
    if not shard_set.manifest.num_samples:
        raise InputError(f"{shard_set.location}: this shard set holds no images")


def require_shuffled(shard_sets: Sequence[ShardSet]) -> None:
    """Raise InputError unless the stored order is one shuffled order, so that epochs can follow it."""
    first = shard_sets[0]
    if len(shard_sets) > 1:
        raise InputError(
            f"order='fixed' is the stored order of one shard set, got {len(shard_sets)} sets; choose order='full'"
        )
    if "seed" in first.manifest.unknown:
        raise InputError(
            f"{first.location}: an adopted set, so it is not known whether its samples were shuffled; choose "
            "order='full' (in a recipe: --set data.order=full), or make the set with 'alexprep shard'"
        )


def fingerprint(shard_sets: Sequence[ShardSet]) -> str:
    """One hash of the contents of all shards, in order."""
    rows = [(shard.name, shard.num_samples, shard.sha256) for one in shard_sets for shard in one.manifest.shards]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
