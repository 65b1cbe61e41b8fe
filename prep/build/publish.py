"""Shard sets built on this machine and sent to a store: shards first, each in one request, the manifests last.

A set is built in a scratch folder, where an interrupted run continues, and sent when it is complete. Its manifest is
created, never replaced: who finds another one there is refused.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...errors import InputError
from ..format.manifest import MANIFEST_NAME
from ..format.shard_set import REMOTE_NAME, SPLITS, ShardSet
from ..storage import Listed, ObjectStore, StoreUrl

UPLOAD_THREADS = 8


def scratch_folder(url: StoreUrl) -> Path:
    """Where what goes to `url` is built: the same folder for the same address, below TMPDIR."""
    name = hashlib.sha256(str(url).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"alexkit-out-{name}"


def fetch_manifests(url: StoreUrl, scratch: Path) -> list[str]:
    """Put the manifests of finished sets at `url` into `scratch`, each in the folder of its split; the splits.

    There they are compared with what is to be built, as those of local sets are.
    """
    store = ObjectStore(url)
    found = []
    for split in SPLITS:
        try:
            content = store.read(f"{split}/{MANIFEST_NAME}")
        except FileNotFoundError:
            continue
        (scratch / split).mkdir(parents=True, exist_ok=True)
        (scratch / split / REMOTE_NAME).write_text(json.dumps({"url": str(url / split)}))
        (scratch / split / MANIFEST_NAME).write_bytes(content)
        found.append(split)
    return found


def publish(folder: Path, url: StoreUrl, *, on_progress: Callable[[int], None] = lambda done: None) -> None:
    """Send the finished set in `folder` to `url`; what is there already, with the same bytes, stays.

    `on_progress` gets the bytes sent so far. Raises InputError when another set is there, OSError from the store.
    """
    ShardSet.open(folder)
    store = ObjectStore(url)
    there = {one.name: one for one in store.list_all()}
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST_NAME)
    done = 0

    def send(path: Path) -> int:
        if not _is_same(path, there.get(path.name)):
            store.put_whole(path.name, path)
        return path.stat().st_size

    with ThreadPoolExecutor(UPLOAD_THREADS) as threads:
        for num_bytes in threads.map(send, files):
            done += num_bytes
            on_progress(done)
    try:
        store.create_once(MANIFEST_NAME, (folder / MANIFEST_NAME).read_bytes())
    except FileExistsError:
        raise InputError(
            f"{url / MANIFEST_NAME}: another set was written there meanwhile; name another --out, or remove that set"
        ) from None


def finish(scratch: Path, url: StoreUrl) -> None:
    """Send the files that lie beside the splits, which other programs read, and take the scratch folder away."""
    store = ObjectStore(url)
    for path in scratch.iterdir():
        if path.is_file():
            store.put_whole(path.name, path)
    shutil.rmtree(scratch, ignore_errors=True)


def _is_same(path: Path, there: Listed | None) -> bool:
    """Whether the object has the file's size and, as far as its ETag tells, its bytes."""
    if there is None or there.num_bytes != path.stat().st_size or there.e_tag is None:
        return False
    return there.e_tag.strip('"') == hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
