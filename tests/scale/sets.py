"""Upload shard sets to a store, and hash the batches of a loader."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from alexkit.pipeline import Batch
from alexkit.prep.storage import ObjectStore, StoreUrl


def upload(folder: Path, url: str) -> str:
    """Copy a finished set to a store, the manifest last; return the URL."""
    store = ObjectStore(StoreUrl.parse(url))
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "manifest.json"):
        store.put_whole(path.name, path)
    return url


def batch_hash(batch: Batch) -> str:
    """One hash over all fields of a batch."""
    digest = hashlib.sha256()
    for tensor in (batch.images, batch.labels, batch.indices, batch.mask):
        digest.update(tensor.contiguous().numpy().tobytes())
    digest.update("\n".join(batch.keys).encode())
    return digest.hexdigest()[:16]


def hashes(batches: Iterable[Batch]) -> list[str]:
    """One hash for each batch."""
    return [batch_hash(batch) for batch in batches]
