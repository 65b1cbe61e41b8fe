"""The local face of a remote shard set: a folder with everything except the shards, so that any code can open it.

    CACHE/sets/ID/manifest.json, index.bin, statistics.npz, remote.json      of one set
    CACHE/sets/ID/train/…, CACHE/sets/ID/val/…                               of several splits at one URL

ID is a hash of URL and manifests, so a different set at the same URL has a different face. `remote.json` says
where the shards are; `ShardSet.open` reads it.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import InputError
from ...prep.format.files import lock_file, sha256_of, whole_file
from ...prep.format.manifest import MANIFEST_NAME, QUARANTINE_NAME, STATISTICS_NAME, manifest_digest
from ...prep.format.sample_index import SAMPLE_INDEX_NAME
from ...prep.format.shard_set import REMOTE_NAME, SPLITS
from ...prep.storage import ObjectStore, RefusedError, StoreUrl

log = logging.getLogger(__name__)

SETS_NAME = "sets"
_HASHED = {STATISTICS_NAME: "statistics_sha256", SAMPLE_INDEX_NAME: "index_sha256"}  # fields of the manifest
_READS = 3  # attempts to read a manifest that does not match its own hash, before it is called damaged


def local_face(url: StoreUrl, cache: Path) -> Path:
    """The folder that represents the set, or the sets of several splits, at `url`; created if the cache lacks it.

    Files in it that the disk damaged are fetched again.

    Raises InputError if there is no finished set or its manifest is damaged, OSError if the store cannot be read.
    """
    if url.userinfo or url.query:
        raise InputError(
            f"{url}: the URL of a shard set must not hold a password or query; see docs/scale.md, Credentials"
        )
    refusals: list[RefusedError] = []
    manifests = {"": _manifest(url, refusals)}
    if manifests[""] is None:
        manifests = {split: _manifest(url / split, refusals) for split in SPLITS}
    found = {split: content for split, content in manifests.items() if content is not None}
    if not found and refusals:
        raise refusals[0]
    if not found:
        raise InputError(
            f"{url}: has neither {MANIFEST_NAME} nor any of {', '.join(f'{split}/{MANIFEST_NAME}' for split in SPLITS)}"
            ", so this is not a finished shard set; write one with 'alexprep shard SOURCE --out URL'"
        )
    digests = (hashlib.sha256(content).hexdigest() for content in found.values())
    name = hashlib.sha256(json.dumps([url.encoded, *digests]).encode())
    folder = cache / SETS_NAME / name.hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    for split, content in found.items():
        one, where = url / split if split else url, folder / split
        if _is_sound(one, where, content):
            continue
        with _one_at_a_time(folder):
            if not _is_sound(one, where, content):
                if (where / MANIFEST_NAME).exists():
                    log.warning(
                        "%s: the small files of %s were damaged on the disk; they are fetched again", where, one
                    )
                _fill(one, where, content)
    os.utime(folder)
    return folder


def cache_of(face: Path) -> tuple[Path, str]:
    """The cache that a face is in, and the face's name there."""
    below = next(folder for folder in (face, *face.parents) if folder.parent.name == SETS_NAME)
    return below.parent.parent, below.name


def _manifest(url: StoreUrl, refusals: list[RefusedError]) -> bytes | None:
    """The manifest's bytes, verified against its own hash; None if there is no manifest.

    Also None if the store refuses it, which is added to `refusals`: to whom may not list a bucket, S3 refuses what does
    not exist.
    """
    store = ObjectStore(url)
    for _ in range(_READS):
        try:
            content = store.read(MANIFEST_NAME)
        except FileNotFoundError:
            return None
        except RefusedError as error:
            refusals.append(error)
            return None
        try:
            data = json.loads(content)
        except ValueError:
            continue
        if isinstance(data, dict) and data.pop("manifest_sha256", None) == manifest_digest(data):
            return content
    raise InputError(f"{url / MANIFEST_NAME}: damaged, its own SHA-256 differs; restore it")


def _is_sound(url: StoreUrl, folder: Path, content: bytes) -> bool:
    """Whether the face of a set exists and is what `_fill` wrote."""
    data = json.loads(content)
    try:
        return (
            (folder / MANIFEST_NAME).read_bytes() == content
            and (folder / REMOTE_NAME).read_bytes() == _remote(url)
            and all(sha256_of(folder / name) == data.get(field) for name, field in _HASHED.items())
        )
    except FileNotFoundError:
        return False


def _fill(url: StoreUrl, folder: Path, content: bytes) -> None:
    """Download the small files; the manifest last, as everywhere."""
    data, store = json.loads(content), ObjectStore(url)
    if not data.get("index_sha256"):
        raise InputError(
            f"{url}: a set of format {data.get('format_version')!r}, which lacks the {SAMPLE_INDEX_NAME} that remote "
            "sets need; copy it to a local disk and use it there, or shard the images again"
        )
    folder.mkdir(exist_ok=True)
    for name, field in _HASHED.items():
        size = store.stat(name).num_bytes
        with whole_file(folder / name) as file:
            store.download(name, file, num_bytes=size, sha256=str(data.get(field)))
    with suppress(FileNotFoundError, RefusedError):
        quarantine = store.read(QUARANTINE_NAME)
        with whole_file(folder / QUARANTINE_NAME) as file:
            file.write(quarantine)
    with whole_file(folder / REMOTE_NAME) as file:
        file.write(_remote(url))
    with whole_file(folder / MANIFEST_NAME) as file:
        file.write(content)


def _remote(url: StoreUrl) -> bytes:
    return json.dumps({"url": url.encoded}).encode()


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        lock_file(descriptor, folder / "lock")
        yield
    finally:
        os.close(descriptor)
