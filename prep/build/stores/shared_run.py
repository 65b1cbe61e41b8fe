"""One run into a store, as seen by one of the processes that work on it.

    OUT/.unfinished/plan.json, SPLIT.inputs     created once, by the first process
    OUT/.unfinished/SPLIT/00012.part            a part, after its shard
    OUT/SPLIT/SPLIT-00012.tar, .idx             each in one request, with a hash that the store checks
    OUT/SPLIT/manifest.json                     last, created only if it does not exist

Small files are copied to a scratch folder on this machine, where the code for local outputs reads them. The process
that finds all parts writes index, statistics and manifest. The last step removes `.unfinished`.
"""

import hashlib
import json
import logging
from collections.abc import Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ....hub import CARD_NAME, is_our_card
from ...format.files import whole_file
from ...format.manifest import MANIFEST_NAME
from ...format.shard import ShardEntry, index_path
from ...format.shard_set import REMOTE_NAME, SPLITS
from ...format.temporary import LOCK_NAME
from ...sources.columns.listed import ListedImages, StoredListing
from ...sources.inputs import SourceSplit
from ...storage import Listed, ObjectStore, RefusedError, StoreUrl
from ..kept_listing import PLAN_NAME, SUFFIX, WORK_FOLDER

THREADS = 16


class Destination(NamedTuple):
    """Where a shard and its part go."""

    shards: StoreUrl
    parts: StoreUrl


class SharedRun:
    """The run into `url`, with the scratch folder of this process. Any method may raise OSError from the store."""

    def __init__(self, url: StoreUrl, scratch: Path) -> None:
        self.url, self.scratch = url, scratch
        self._store = ObjectStore(url)

    def pull(self) -> None:
        """Copy the existing plan, listings and manifests to the scratch folder."""
        work = self.scratch / WORK_FOLDER
        for name in (PLAN_NAME, *(f"{split}{SUFFIX}" for split in SPLITS)):
            self._copy(f"{WORK_FOLDER}/{name}", work / name)
        for split in SPLITS:
            if self._copy(f"{split}/{MANIFEST_NAME}", self.scratch / split / MANIFEST_NAME):
                _mark_remote(self.scratch / split, self.url / split)

    def refuse_strangers(self, splits: Iterable[str]) -> None:
        """InputError if a split's prefix contains objects that belong to neither an unfinished run nor a set."""
        for split in splits:
            if not self._store.list_all(split) or self._store.exists(f"{split}/{MANIFEST_NAME}"):
                continue
            if not self._store.exists(f"{WORK_FOLDER}/{PLAN_NAME}"):
                raise InputError(
                    f"{self.url / split}: not empty, and neither a shard set nor an unfinished run; remove it or "
                    "choose another --out"
                )

    def settle_plan(self) -> bool:
        """Make the scratch folder's plan that of the run; if the run already has one, copy that and return False."""
        path = self.scratch / WORK_FOLDER / PLAN_NAME
        try:
            self._store.create_once(f"{WORK_FOLDER}/{PLAN_NAME}", path.read_bytes())
        except FileExistsError:
            path.write_bytes(self._store.read(f"{WORK_FOLDER}/{PLAN_NAME}"))
            return False
        return True

    def share(self, split: SourceSplit) -> SourceSplit:
        """The split with its listing in the store, where all machines can read it."""
        images = split.images
        if not isinstance(images, ListedImages) or images.path is None:
            return split
        name, content = f"{WORK_FOLDER}/{images.path.name}", images.path.read_bytes()
        try:
            self._store.create_once(name, content)
        except FileExistsError:
            return replace(split, images=list(images))  # the first listing may have other paths, from another machine
        stored = StoredListing(self.url / name, len(content), hashlib.sha256(content).hexdigest())
        return replace(split, images=replace(images, stored=stored))

    def of_split(self, name: str) -> "SharedSplit":
        """The state of one split in the store."""
        destination = Destination(self.url / name, self.url / WORK_FOLDER / name)
        return SharedSplit(destination, self.scratch / name, self.scratch / WORK_FOLDER / name)

    def pull_card(self) -> None:
        """Copy an existing dataset card to the scratch folder, so that a card the user wrote is recognized."""
        self._copy(CARD_NAME, self.scratch / CARD_NAME)

    def finish(self) -> None:
        """After all splits are complete: send the files beside them, and remove `.unfinished` if that is allowed."""
        for path in self.scratch.iterdir():
            if path.name == CARD_NAME and not is_our_card(path, kind="dataset"):
                continue
            if path.is_file() and path.name != LOCK_NAME:
                self._store.put_whole(path.name, path)
        names = [one.name for one in self._store.list_all(WORK_FOLDER)]
        try:
            with ThreadPoolExecutor(THREADS) as threads:
                list(threads.map(self._store.delete, names))
        except RefusedError as error:
            logging.getLogger(__name__).warning(
                "%s: cannot be removed (%s); the shard sets are complete, so remove it by other means",
                *(self.url / WORK_FOLDER, error.strerror),
            )

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
        """Whether the set is complete in the store, perhaps by another process; if so, its manifest is copied here."""
        path = self._folder / MANIFEST_NAME
        if not (self._folder / REMOTE_NAME).exists():
            try:
                content = self._shard_store.read(MANIFEST_NAME)
            except FileNotFoundError:
                return False  # our manifest may be written but not yet sent
            if path.exists() and path.read_bytes() != content:
                return False  # another set
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(content)
            _mark_remote(self._folder, self.destination.shards)
        return True

    def num_parts(self) -> int:
        """The number of parts, sound or not."""
        return len(self._part_store.list_all())

    def refresh(self, wanted: Container[str]) -> None:
        """List the shards, and copy `wanted` parts that are new or changed."""
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
        """Whether shard and index exist in the store, the shard with the right size."""
        shard = self._there.get(entry.name)
        return (
            shard is not None
            and shard.num_bytes == entry.num_bytes
            and index_path(Path(entry.name)).name in self._there
        )

    def is_whole(self, entry: ShardEntry, e_tags: tuple[str, ...]) -> bool:
        """Whether shard and index are what was sent: their ETags are equal, or else their bytes are."""
        names = (entry.name, index_path(Path(entry.name)).name)
        if e_tags and tuple(self._there[name].e_tag for name in names) == e_tags:
            return True
        found = [hashlib.sha256(self._shard_store.read(name)).hexdigest() for name in names]
        return found == [entry.sha256, entry.index_sha256]

    def drop(self, part: str) -> None:
        """Mark a shard as unfinished by deleting its part."""
        self._part_store.delete(part)

    def complete(self) -> None:
        """Send what `complete_set` wrote into the folder of this split, the manifest last.

        Raises InputError if another set was completed there in the meantime.
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
    """Send a shard and its index, then delete the local files; returns their ETags, or () if the store reports none."""
    store = ObjectStore(destination.shards)
    e_tags = [store.put_whole(path.name, path) for path in (shard, index_path(shard))]
    for path in (shard, index_path(shard)):
        path.unlink()
    return tuple(e_tag for e_tag in e_tags if e_tag) if all(e_tags) else ()


def send_part(path: Path, destination: Destination) -> None:
    """Send the part of a finished shard, then delete the local file."""
    ObjectStore(destination.parts).put_whole(path.name, path)
    path.unlink()


def _mark_remote(folder: Path, url: StoreUrl) -> None:
    (folder / REMOTE_NAME).write_text(json.dumps({"url": str(url)}))
