"""One run into a store, as one of the processes that work on it sees it.

    OUT/.unfinished/plan.json, SPLIT.inputs     created once, by whoever came first
    OUT/.unfinished/SPLIT/00012.part            a part, after its shard
    OUT/SPLIT/SPLIT-00012.tar, .idx             each in one request, with a hash that the store checks
    OUT/SPLIT/manifest.json                     last, created only if none is there

What is small is copied to a scratch folder of this machine and read there by the code that reads a local output.
Whoever finds all parts writes index, statistics and manifest. The last act removes `.unfinished`.
"""

import hashlib
import json
from collections.abc import Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...format.dataset_card import CARD_NAME, is_our_card
from ...format.files import whole_file
from ...format.manifest import MANIFEST_NAME
from ...format.shard import ShardEntry, index_path
from ...format.shard_set import REMOTE_NAME, SPLITS
from ...sources.columns.listed import ListedImages, StoredListing
from ...sources.inputs import SourceSplit
from ...storage import Listed, ObjectStore, StoreUrl
from ..kept_listing import PLAN_NAME, SUFFIX, WORK_FOLDER
from .scratch import LOCK_NAME

THREADS = 16


class Destination(NamedTuple):
    """Where a shard and its part go."""

    shards: StoreUrl
    parts: StoreUrl


class SharedRun:
    """The run into `url`, with the scratch folder of this process. All methods raise OSError from the store."""

    def __init__(self, url: StoreUrl, scratch: Path) -> None:
        self.url, self.scratch = url, scratch
        self._store = ObjectStore(url)

    def pull(self) -> None:
        """Copy the plan, the listings and the manifests that are there to the scratch folder."""
        work = self.scratch / WORK_FOLDER
        for name in (PLAN_NAME, *(f"{split}{SUFFIX}" for split in SPLITS)):
            self._copy(f"{WORK_FOLDER}/{name}", work / name)
        for split in SPLITS:
            if self._copy(f"{split}/{MANIFEST_NAME}", self.scratch / split / MANIFEST_NAME):
                _mark_remote(self.scratch / split, self.url / split)

    def refuse_strangers(self, splits: Iterable[str]) -> None:
        """InputError where something lies in the place of a split that neither a run nor a set has put there."""
        for split in splits:
            if not self._store.list_all(split) or self._store.exists(f"{split}/{MANIFEST_NAME}"):
                continue
            if not self._store.exists(f"{WORK_FOLDER}/{PLAN_NAME}"):
                raise InputError(
                    f"{self.url / split}: not empty, and neither a shard set nor an unfinished run; remove it or "
                    "choose another --out"
                )

    def settle_plan(self) -> bool:
        """Make the plan of the scratch folder that of the run; False when there is another, which is there now."""
        path = self.scratch / WORK_FOLDER / PLAN_NAME
        try:
            self._store.create_once(f"{WORK_FOLDER}/{PLAN_NAME}", path.read_bytes())
        except FileExistsError:
            path.write_bytes(self._store.read(f"{WORK_FOLDER}/{PLAN_NAME}"))
            return False
        return True

    def share(self, split: SourceSplit) -> SourceSplit:
        """The split with its listing where all machines can read it."""
        images = split.images
        if not isinstance(images, ListedImages) or images.path is None:
            return split
        name, content = f"{WORK_FOLDER}/{images.path.name}", images.path.read_bytes()
        try:
            self._store.create_once(name, content)
        except FileExistsError:
            return replace(split, images=list(images))  # of a machine where the source has another path
        stored = StoredListing(self.url / name, len(content), hashlib.sha256(content).hexdigest())
        return replace(split, images=replace(images, stored=stored))

    def of_split(self, name: str) -> "SharedSplit":
        """What is known of one split."""
        destination = Destination(self.url / name, self.url / WORK_FOLDER / name)
        return SharedSplit(destination, self.scratch / name, self.scratch / WORK_FOLDER / name)

    def pull_card(self) -> None:
        """Copy the card that is there to the scratch folder, so that one of the user's own is known for it."""
        self._copy(CARD_NAME, self.scratch / CARD_NAME)

    def finish(self) -> None:
        """All splits are complete: send what lies beside them, and remove what the run needed."""
        for path in self.scratch.iterdir():
            if path.name == CARD_NAME and not is_our_card(path):
                continue
            if path.is_file() and path.name != LOCK_NAME:
                self._store.put_whole(path.name, path)
        names = [one.name for one in self._store.list_all(WORK_FOLDER)]
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(self._store.delete, names))

    def _copy(self, name: str, path: Path) -> bool:
        try:
            content = self._store.read(name)
        except FileNotFoundError:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(content)
        return True


class SharedSplit:
    """The shards and parts of one split in the store, as of the last `refresh`."""

    def __init__(self, destination: Destination, folder: Path, parts: Path) -> None:
        self.destination = destination
        self._folder, self._parts = folder, parts
        self._there: dict[str, Listed] = {}
        self._versions: dict[str, str | None] = {}

    @cached_property
    def _shard_store(self) -> ObjectStore:
        return ObjectStore(self.destination.shards)

    @cached_property
    def _part_store(self) -> ObjectStore:
        return ObjectStore(self.destination.parts)

    def is_complete(self) -> bool:
        """Whether the set is in the store, perhaps completed by another process; then its manifest is here too."""
        path = self._folder / MANIFEST_NAME
        if not (self._folder / REMOTE_NAME).exists():
            try:
                content = self._shard_store.read(MANIFEST_NAME)
            except FileNotFoundError:
                return False  # perhaps ours is written, and was not sent
            if path.exists() and path.read_bytes() != content:
                return False  # another set
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(content)
            _mark_remote(self._folder, self.destination.shards)
        return True

    def num_parts(self) -> int:
        """How many parts there are, sound or not."""
        return len(self._part_store.list_all())

    def refresh(self, wanted: Container[str]) -> None:
        """List the shards, and copy those of the `wanted` parts that are new or changed."""
        self._there = {one.name: one for one in self._shard_store.list_all()}
        listed = [one for one in self._part_store.list_all() if one.name in wanted]
        new = [one for one in listed if self._versions.get(one.name, "") != one.e_tag]

        def copy(one: Listed) -> None:
            with whole_file(self._parts / one.name) as file:
                file.write(self._part_store.read(one.name))

        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(copy, new))
        self._versions = {one.name: one.e_tag for one in listed}
        for path in self._parts.glob("*.part"):
            if path.name not in self._versions:
                path.unlink()

    def is_there(self, entry: ShardEntry) -> bool:
        """Whether shard and index lie in the store, the shard with its size."""
        shard = self._there.get(entry.name)
        return (
            shard is not None
            and shard.num_bytes == entry.num_bytes
            and index_path(Path(entry.name)).name in self._there
        )

    def is_whole(self, entry: ShardEntry, e_tags: tuple[str, ...]) -> bool:
        """Whether they are what was sent: by their versions, and where these are others, by their bytes."""
        names = (entry.name, index_path(Path(entry.name)).name)
        if e_tags and tuple(self._there[name].e_tag for name in names) == e_tags:
            return True
        found = [hashlib.sha256(self._shard_store.read(name)).hexdigest() for name in names]
        return found == [entry.sha256, entry.index_sha256]

    def drop(self, part: str) -> None:
        """Take a shard out of the finished ones."""
        self._part_store.delete(part)

    def complete(self) -> None:
        """Send what `complete_set` wrote into the folder of this split, the manifest last.

        Raises InputError when another set was completed there meanwhile.
        """
        for path in sorted(self._folder.iterdir()):
            if path.is_file() and path.name not in (MANIFEST_NAME, REMOTE_NAME):
                self._shard_store.put_whole(path.name, path)
        try:
            self._shard_store.create_once(MANIFEST_NAME, (self._folder / MANIFEST_NAME).read_bytes())
        except FileExistsError:
            raise InputError(
                f"{self.destination.shards / MANIFEST_NAME}: another set was written there in the meantime; choose "
                "another --out, or remove that set"
            ) from None
        _mark_remote(self._folder, self.destination.shards)


def send_shard(shard: Path, destination: Destination) -> tuple[str, ...]:
    """Send a shard and its index, and remove them here; their versions in the store, empty where it tells none."""
    store = ObjectStore(destination.shards)
    e_tags = [store.put_whole(path.name, path) for path in (shard, index_path(shard))]
    for path in (shard, index_path(shard)):
        path.unlink()
    return tuple(e_tag for e_tag in e_tags if e_tag) if all(e_tags) else ()


def send_part(path: Path, destination: Destination) -> None:
    """Send what is known of a finished shard, and remove it here."""
    ObjectStore(destination.parts).put_whole(path.name, path)
    path.unlink()


def _mark_remote(folder: Path, url: StoreUrl) -> None:
    (folder / REMOTE_NAME).write_text(json.dumps({"url": str(url)}))
