"""A shard set opened for reading: the folder of one split, checked against its manifest."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from .manifest import MANIFEST_NAME, STATISTICS_NAME, Manifest
from .shard import ShardIndex, index_path, parse_index
from .stats import PixelSums

SPLITS = ("train", "val", "test")
MEND = "mend it with 'alexprep repair SHARDS SOURCE'"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSet:
    """A folder and its manifest; made by `open`, which has seen every shard at its promised size."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> "ShardSet":
        """Read the manifest and check that every shard and index is there and every shard has its size.

        Raises InputError naming the file, what was found, what was expected and what to do.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; name a folder that 'alexprep shard' wrote")
        if not (folder / MANIFEST_NAME).exists():
            inner = [split for split in SPLITS if (folder / split / MANIFEST_NAME).exists()]
            if inner:
                raise InputError(f"{folder}: holds the splits {', '.join(inner)}; name one, e.g. {folder / inner[0]}")
        manifest = Manifest.read(folder)
        for shard in manifest.shards:
            path = folder / shard.name
            try:
                num_bytes = path.stat().st_size
            except FileNotFoundError:
                raise InputError(f"{path}: missing, but {folder / MANIFEST_NAME} lists it; {MEND}") from None
            if num_bytes != shard.num_bytes:
                raise InputError(
                    f"{path}: {num_bytes} bytes, expected {shard.num_bytes}; "
                    f"the shard is damaged or from another set: {MEND}"
                )
            if not index_path(path).exists():
                raise InputError(f"{index_path(path)}: missing; {MEND}")
        return cls(folder=folder, manifest=manifest)

    def index(self, shard_number: int) -> ShardIndex:
        """The index of one shard, checked against the manifest's count and hash."""
        shard = self.manifest.shards[shard_number]
        path = index_path(self.folder / shard.name)
        content = path.read_bytes()
        index = parse_index(content, path, shard_bytes=shard.num_bytes)
        if len(index) != shard.num_samples:
            raise InputError(f"{path}: lists {len(index)} samples, the manifest says {shard.num_samples}; {MEND}")
        if hashlib.sha256(content).hexdigest() != shard.index_sha256:
            raise InputError(f"{path}: its SHA-256 is not the one in {MANIFEST_NAME}; {MEND}")
        return index

    def sums(self) -> PixelSums:
        """The exact statistics written with the shards."""
        path = self.folder / STATISTICS_NAME
        if not path.exists():
            raise InputError(f"{path}: missing; {MEND}")
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.manifest.statistics_sha256:
            raise InputError(f"{path}: its SHA-256 is not the one in {MANIFEST_NAME}; {MEND}")
        return PixelSums.load(path)
