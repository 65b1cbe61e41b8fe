"""A shard set opened for reading: the folder of one split, checked against its manifest."""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import InputError
from ..storage import Location, StoreUrl, local_path
from .files import naming, sha256_of
from .manifest import MANIFEST_NAME, STATISTICS_NAME, Manifest
from .sample_index import NO_LABEL, SAMPLE_INDEX_NAME, SampleIndex, SampleRows, image_checksum
from .shard import ShardIndex, index_path, parse_index
from .source_table import SOURCES_NAME, find_source
from .stats import PixelSums

SPLITS = ("train", "val", "test")
MAX_LABEL_DIGITS = 9
REMOTE_NAME = "remote.json"  # beside the manifest in the local folder of a remote set: where its shards are
_SHARDS_AT_ONCE = 256
MEND = "run 'alexprep repair SHARDS SOURCE'"


def one_split(folder: Path, more: str = "") -> str:
    """The message for a set, or the local folder of a remote one, given where a folder of several is expected."""
    where = _url_of(folder) or folder
    above = where.parent if where.name else ".."
    return f"{where}: this is one split{more}; pass the folder above, {above}"


def _url_of(face: Path) -> StoreUrl | None:
    """Where the shards of a remote set are; None if `face` is not the local folder of one."""
    if not (face / REMOTE_NAME).exists():
        return None
    return StoreUrl.parse(json.loads((face / REMOTE_NAME).read_bytes())["url"])


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSet:
    """A folder and its manifest; made by `open`, which checks that every shard exists with its size."""

    folder: Path
    """Where manifest, index and statistics are; the shards too, unless the set is remote."""
    manifest: Manifest
    """The set's manifest."""
    url: StoreUrl | None = None
    """Where the shards are, if that is a store."""

    @property
    def location(self) -> Location:
        """The folder or URL by which the user knows the set."""
        return self.url or self.folder

    @classmethod
    def open(cls, folder: str | Path) -> "ShardSet":
        """Read the manifest and check that every shard and index exists and every shard has its size.

        For a remote set, `folder` is a local folder with everything but the shards.

        Raises InputError, with the file, what was found, what was expected and what to do.
        """
        folder = local_path(folder)
        if not folder.is_dir():
            above = folder.parent
            if folder.suffix == ".tar":  # a list of tars, or a pattern, as other readers take them
                raise InputError(f"{folder}: a shard set is a folder, not its tars; pass {above}")
            if (above / MANIFEST_NAME).exists():  # --shards demo/train: a split is looked for in it
                raise InputError(one_split(above, f", and has no {folder.name}/"))
            raise InputError(f"{folder}: no such folder; pass a folder that 'alexprep shard' wrote")
        if not (folder / MANIFEST_NAME).exists():
            inner = [split for split in SPLITS if (folder / split / MANIFEST_NAME).exists()]
            if inner:
                raise InputError(f"{folder}: holds the splits {', '.join(inner)}; pass one, e.g. {folder / inner[0]}")
        manifest = Manifest.read(folder)
        if (url := _url_of(folder)) is not None:
            return cls(folder=folder, manifest=manifest, url=url)
        # Names as str and one listing: for ten thousand shards, Path objects take a tenth of a second.
        base, there = f"{folder}/", set(os.listdir(folder))  # noqa: PTH208
        for shard in manifest.shards:
            path = base + shard.name
            try:
                num_bytes = os.stat(path).st_size  # noqa: PTH116 - a Path costs more than the call
            except FileNotFoundError:
                raise InputError(f"{path}: missing, but {folder / MANIFEST_NAME} lists it; {MEND}") from None
            if num_bytes != shard.num_bytes:
                raise InputError(
                    f"{path}: {num_bytes} bytes, expected {shard.num_bytes}; "
                    f"the shard is damaged or from another set: {MEND}"
                )
            if f"{shard.name.removesuffix('.tar')}.idx" not in there:
                raise InputError(f"{index_path(Path(path))}: missing; {MEND}")
        return cls(folder=folder, manifest=manifest)

    def index(self, shard_number: int) -> ShardIndex:
        """The index of one shard, checked against the manifest's count and hash."""
        shard = self.manifest.shards[shard_number]
        path = index_path(self.folder / shard.name)
        with naming(path):
            content = path.read_bytes()
        index = parse_index(content, path, shard_bytes=shard.num_bytes)
        if len(index) != shard.num_samples:
            raise InputError(f"{path}: lists {len(index)} samples, but the manifest says {shard.num_samples}; {MEND}")
        if hashlib.sha256(content).hexdigest() != shard.index_sha256:
            raise InputError(f"{path}: its SHA-256 is not the one in {MANIFEST_NAME}; {MEND}")
        return index

    def sample_index(self) -> SampleIndex:
        """Every sample of the set, checked against the manifest: `index.bin`, mapped.

        For a set of format 2, which has no such file, it is built in memory from the shards, without checksums. Raises
        InputError, naming the file, if it is missing, damaged or of another set.
        """
        shards = self.manifest.shards
        path = self.folder / SAMPLE_INDEX_NAME
        if self.manifest.index_sha256:
            if not path.exists():
                raise InputError(f"{path}: missing, but {self.folder / MANIFEST_NAME} lists it; {MEND}")
            index = SampleIndex.open(self.folder)
        else:
            path = self.folder / MANIFEST_NAME
            index = SampleIndex.of_rows(self.rows(number, read_images=False) for number in range(len(shards)))
        if np.diff(index.first_S).tolist() != [shard.num_samples for shard in shards]:
            raise InputError(f"{path}: the numbers of samples in its shards are not those in {MANIFEST_NAME}; {MEND}")
        sizes = np.array([shard.num_bytes for shard in shards], np.int64)
        for begin in range(0, len(shards), _SHARDS_AT_ONCE):
            bounds = index.first_S[begin : begin + _SHARDS_AT_ONCE + 1]
            first, last = int(bounds[0]), int(bounds[-1])
            ends_N = index.starts_N[first:last] + index.sizes_N[first:last]
            beyond_N = ends_N > np.repeat(sizes[begin : begin + _SHARDS_AT_ONCE], np.diff(bounds))
            if beyond_N.any():
                row = first + int(beyond_N.argmax())
                shard = shards[index.shard_of(row)]
                raise InputError(
                    f"{path}: sample {index.key(row)!r} ends at byte {int(ends_N[row - first])} of {shard.name}, which "
                    f"has {shard.num_bytes} bytes; {MEND}"
                )
        most = max((int(index.labels_N[i : i + 2**20].max()) for i in range(0, len(index), 2**20)), default=0)
        if most >= len(self.manifest.classes):
            raise InputError(f"{path}: label {most}, but the class table has {len(self.manifest.classes)} rows; {MEND}")
        return index

    def rows(self, shard_number: int, *, read_images: bool = True) -> SampleRows:
        """The samples of one shard as in `index.bin`, read from the shard and its index.

        Checksums are those of the images as they are now; zeros unless `read_images`.
        """
        index = self.index(shard_number)
        path = self.folder / self.manifest.shards[shard_number].name
        labels_N, checksums_N = np.zeros(len(index), np.int32), np.zeros(len(index), np.uint32)
        with naming(path), path.open("rb") as file:
            for i, key in enumerate(index.keys):
                if read_images:
                    image = os.pread(file.fileno(), int(index.image_sizes[i]), int(index.image_offsets[i]))
                    checksums_N[i] = image_checksum(image)
                text = os.pread(file.fileno(), int(index.label_sizes[i]), int(index.label_offsets[i]))
                if text != b"%d" % NO_LABEL and (not text.isdigit() or len(text) > MAX_LABEL_DIGITS):
                    raise InputError(f"{path}: sample {key!r}: label {text[:20]!r}, expected a number; {MEND}")
                labels_N[i] = int(text)
        return replace(index.rows(), labels_N=labels_N, checksums_N=checksums_N)

    def source_of(self, key: str) -> str:
        """Which file the sample `key` was made from, relative to the folder that was sharded: `train/daisy/42_n.jpg`.

        For a file in a tar or another file of many: that file's path, a colon and the name in it. Raises InputError for
        an unknown key, and for a set without sources: one of an older version, adopted, or remote.
        """
        if not self.manifest.sources_sha256:
            raise InputError(
                f"{self.folder}: has no {SOURCES_NAME}, like all adopted sets and sets of older versions; the key of "
                "an adopted sample is its name in the tar"
            )
        if not (self.folder / SOURCES_NAME).exists():
            where = f"read {self.url / SOURCES_NAME}" if self.url else MEND
            raise InputError(f"{self.folder / SOURCES_NAME}: missing; {where}")
        return find_source(self.folder, key)

    def sums(self) -> PixelSums:
        """The exact statistics written with the shards."""
        path = self.folder / STATISTICS_NAME
        if not path.exists():
            raise InputError(f"{path}: missing; {MEND}")
        if sha256_of(path) != self.manifest.statistics_sha256:
            raise InputError(f"{path}: its SHA-256 is not the one in {MANIFEST_NAME}; {MEND}")
        return PixelSums.load(path)
