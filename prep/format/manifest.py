"""The manifest of a shard set, written last, so that its presence means "complete and checked".

Beside the shards are `index.bin` (all samples in one file), `sources.jsonl` (which file each sample was made from),
`statistics.npz` (exact sums) and `quarantine.jsonl` (a JSON line for each input that was not stored).

The manifest holds no time, host or path: the same source and options give the same bytes. A reader checks everything it
relies on and refuses what does not match, saying which file, what was found and what was expected.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import InputError
from ..storage import local_path
from .files import naming, sha256_of, whole_file
from .originals import Originals
from .pixel_options import PixelOptions
from .sample_index import SampleRows, write_sample_index
from .shard import ShardEntry
from .source_table import write_source_table
from .stats import ColorStatistics, PixelSums

FORMAT_VERSION = 3
READABLE_VERSIONS = (2, 3)
MANIFEST_NAME = "manifest.json"
STATISTICS_NAME = "statistics.npz"
QUARANTINE_NAME = "quarantine.jsonl"
MAX_MANIFEST_BYTES = 256 * 2**20
_FORBIDDEN = frozenset(("/", "\0", os.sep))  # in the plain name of a file


UNLABELED = "unlabeled"
"""The id of the only class of a set whose images were stored without labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassEntry:
    """One row of the class table: `index` is the label, `id` the WordNet id or folder, `name` the readable name."""

    index: int
    id: str
    name: str


def valid_text(text: str) -> str:
    """Text that a manifest can hold: bytes of a file name that are not UTF-8 are written as `\\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """One input that was not stored: its path relative to the source, and why."""

    source: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Patched:
    """One damaged JPEG that was stored as the decoder patched it: its path relative to the source, and how much."""

    source: str
    decoded_rows: float
    """Fraction of its rows whose pixels come from the file's data, 0 to 1; whether they are right is unknown."""


def manifest_digest(data: dict[str, Any]) -> str:
    """SHA-256 over a manifest's JSON without its `manifest_sha256`; ValueError for numbers that JSON cannot hold."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, allow_nan=False).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A complete shard set of one split."""

    split: str
    """Which split it is: train, val or test."""
    seed: int
    """Seed of the shuffle."""
    images_per_shard: int
    """Inputs assigned to each shard; the last may get fewer."""
    pixels: PixelOptions
    """Every option that shaped a pixel."""
    software: dict[str, str]
    """Versions of the libraries that shaped a pixel, by distribution."""
    classes: tuple[ClassEntry, ...]
    """The class table; row i is class i."""
    shards: tuple[ShardEntry, ...]
    """The shards in stored order."""
    quarantined: tuple[Quarantined, ...]
    """Inputs that were not stored, sorted by name."""
    color: ColorStatistics
    """Summary of the statistics."""
    statistics_sha256: str = ""
    """SHA-256 of `statistics.npz`, in hexadecimal."""
    index_sha256: str = ""
    """SHA-256 of `index.bin`; empty for a set of format 2, which has none."""
    sources_sha256: str = ""
    """SHA-256 of `sources.jsonl`; empty for a set without one: of an older version, or adopted."""
    patched: tuple[Patched, ...] = ()
    """Damaged images that were kept by `lenient`, sorted by name."""
    warnings: dict[str, int] = field(default_factory=dict)
    """Why images were kept with a warning, and how many; `docs/images.md` lists the texts."""
    num_enlarged: int = 0
    """Images whose shorter side had fewer pixels than are stored."""
    originals: Originals = field(default_factory=Originals)
    """Sizes and shapes of the source images; empty in sets of older versions and in adopted ones."""
    source_sha256: str = ""
    """Fingerprint of the inputs, `SourceSplit.fingerprint`."""
    alexkit_version: str = __version__
    """The version of alexkit that made the set; empty if it was not recorded."""
    unknown: tuple[str, ...] = ()
    """Fields that are unknown, since the set was made elsewhere and adopted; their values are meaningless."""
    format_version: int = FORMAT_VERSION
    """Version of the format, 3."""

    @property
    def num_samples(self) -> int:
        """Stored images, all shards together."""
        return sum(shard.num_samples for shard in self.shards)

    @property
    def num_patched(self) -> int:
        """Damaged images that were kept by `lenient`."""
        return len(self.patched)

    @property
    def labels_are_indices(self) -> bool:
        """Whether the label members hold class indices; those of adopted tars may hold names."""
        return not self.unknown or all(entry.id == str(entry.index) for entry in self.classes)

    def write(self, folder: Path) -> None:
        """Write `folder/manifest.json`, whole."""
        data = asdict(self)
        data["num_samples"] = self.num_samples
        data["num_patched"] = self.num_patched
        data["color"] = self.color.to_json()
        data = json.loads(json.dumps(data))
        data["manifest_sha256"] = manifest_digest(data)
        with whole_file(folder / MANIFEST_NAME) as file:
            file.write(json.dumps(data, indent=1, sort_keys=True).encode() + b"\n")

    @classmethod
    def read(cls, folder: str | Path) -> "Manifest":
        """Read and check `folder/manifest.json`.

        Raises InputError, with the file, what was found and what to do, for: no manifest (an unfinished run or another
        folder), another format version, a manifest that changed since it was written, a field that is missing or of
        another type, and shards that do not add up.
        """
        folder = local_path(folder)
        path = folder / MANIFEST_NAME
        restore = f"restore the file, or remove {folder} and shard the images again"
        try:
            with naming(path):
                if path.stat().st_size > MAX_MANIFEST_BYTES:
                    raise InputError(
                        f"{path}: larger than {MAX_MANIFEST_BYTES} bytes; this is not a shard set's manifest"
                    )
                data = json.loads(path.read_bytes())
        except FileNotFoundError:
            if not folder.exists():
                raise InputError(f"{folder}: no such folder; pass a folder that 'alexprep shard' wrote") from None
            raise InputError(
                f"{folder}: no {MANIFEST_NAME} here, so this is not a finished shard set; run 'alexprep shard' "
                "(the same command continues an interrupted run) or pass another folder"
            ) from None
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not JSON ({error}); {restore}") from None
        found = data.get("format_version") if isinstance(data, dict) else None
        if found not in READABLE_VERSIONS:
            readable = " and ".join(map(str, READABLE_VERSIONS))
            raise InputError(
                f"{path}: format version {found!r:.80}, but this alexkit reads {readable}; shard the images again or "
                "install the alexkit that made them"
            )
        digest = data.pop("manifest_sha256", None)
        try:
            if manifest_digest(data) != digest:
                raise InputError(f"{path}: changed since it was written (its own SHA-256 differs); {restore}")
            manifest = cls._from_json(_renamed(data) if found == 2 else data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError) and str(error).startswith(str(path)):
                raise
            raise InputError(f"{path}: damaged field ({error}); {restore}") from None
        if data.get("num_samples") != manifest.num_samples:
            raise InputError(
                f"{path}: says {data.get('num_samples')!r:.80} samples, but its shards add up to "
                f"{manifest.num_samples}; {restore}"
            )
        return manifest

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> "Manifest":
        from pydantic import TypeAdapter, ValidationError  # takes a tenth of a second

        computed = ("num_samples", "num_patched")
        # Sets of earlier versions record neither their geometry nor the alexkit that made them.
        defaults = {"alexkit_version": "", "index_sha256": "", "sources_sha256": ""}
        pixels = {"geometry": "crop-then-resize", **data["pixels"]}
        fields = defaults | {name: value for name, value in data.items() if name not in computed}
        fields |= {"pixels": pixels, "color": ColorStatistics.fields_of_json(data["color"])}
        try:
            # Via JSON, since its lists are accepted as tuples.
            manifest = TypeAdapter(cls).validate_json(json.dumps(fields, allow_nan=False))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{where}: {first['msg']}, found {str(first['input'])[:80]!r}") from None
        for i, entry in enumerate(manifest.classes):
            if entry.index != i:
                raise InputError(f"class {entry.id!r:.80} has index {entry.index!r:.80}, expected {i}")
        for shard in manifest.shards:
            # Not with Path: for fourteen thousand names it takes a tenth of the time to open the set.
            if not _FORBIDDEN.isdisjoint(shard.name) or not shard.name.endswith(".tar"):
                raise InputError(f"{shard.name!r:.80} is not the plain name of a tar")
            for count in (shard.num_samples, shard.num_bytes):
                if not 0 <= count < 2**48:
                    raise InputError(f"{shard.name}: impossible count {count!r:.80}")
        return manifest


def _renamed(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of a format 2 manifest under the names of format 3."""
    pixels = dict(data["pixels"])
    pixels["format"], pixels["lenient"] = pixels.pop("codec"), not pixels.pop("strict")
    return {**data, "pixels": pixels, "color": data["colour"]}


def write_quarantine(folder: Path, quarantined: Sequence[Quarantined]) -> None:
    """Write one JSON line per input that was not stored."""
    with whole_file(folder / QUARANTINE_NAME) as file:
        for bad in quarantined:
            file.write(json.dumps(asdict(bad)).encode() + b"\n")


def complete_set(
    folder: Path,
    manifest: Manifest,
    sums: PixelSums,
    rows: Iterable[SampleRows],
    sources: Iterable[bytes] | None = None,
) -> Manifest:
    """Turn `folder`, which holds the finished shards of `manifest`, into a shard set; returns the manifest as written.

    Writes the quarantine, the statistics, the sample index, the table of sources and, last, the manifest.

    Args:
        folder: The folder of the complete shards and their indexes.
        manifest: The set's manifest; the hashes of the other files are filled in here.
        sums: The exact statistics of all samples.
        rows: The samples of every shard, in the manifest's order.
        sources: The `source_lines` of all samples, in the same order; None if unknown.
    """
    write_quarantine(folder, manifest.quarantined)
    sums.save(folder / STATISTICS_NAME)
    manifest = replace(
        manifest,
        statistics_sha256=sha256_of(folder / STATISTICS_NAME),
        index_sha256=write_sample_index(folder, rows),
        sources_sha256="" if sources is None else write_source_table(folder, sources),
    )
    manifest.write(folder)
    return manifest
