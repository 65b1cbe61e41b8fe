"""Which shard gets which image, decided before any image is opened: one global shuffle, cut into shards.

A pure function of the sorted source and the seed. The shuffle sorts raw 64-bit draws of the Philox generator, whose
stream NumPy guarantees; `Generator.shuffle` may change between versions.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..format.manifest import UNLABELED
from ..format.pixel_options import PixelOptions
from ..format.shard_set import SPLITS

MAX_SHARDS = 100_000
MAX_STEM = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """How many inputs a split has and how they are divided into shards; the shuffle depends on `split` and `seed`."""

    split: str
    num_images: int
    seed: int = 0
    images_per_shard: int = 1000

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be 0 to 2**63 - 1, got {self.seed}")
        if self.images_per_shard < 1:
            raise InputError(f"images per shard must be at least 1, got {self.images_per_shard}")
        if self.num_images > MAX_SHARDS * self.images_per_shard:
            raise InputError(
                f"{self.num_images} images make more than {MAX_SHARDS} shards of {self.images_per_shard}; "
                "raise --images-per-shard"
            )

    def order(self) -> NDArray[np.int64]:
        """The inputs in stored order: a permutation of 0..num_images-1."""
        # SPLITS.index: the same seed shuffles train and val independently.
        generator = np.random.Philox(key=self.seed + (SPLITS.index(self.split) << 64))
        return np.argsort(generator.random_raw(self.num_images), kind="stable")

    @property
    def num_shards(self) -> int:
        """The number of shards."""
        return -(-self.num_images // self.images_per_shard)

    def shard_ranges(self) -> list[range]:
        """Consecutive ranges of positions in the stored order, one per shard; the last may be shorter."""
        return [self.positions(number) for number in range(self.num_shards)]

    def positions(self, number: int) -> range:
        """The positions of shard `number`."""
        start = number * self.images_per_shard
        return range(start, min(start + self.images_per_shard, self.num_images))

    def shard_name(self, number: int) -> str:
        """`train-00012.tar`."""
        return f"{self.split}-{number:05d}.tar"


def sample_key(position: int, name: str) -> str:
    """The key of the input `CLASS/FILE` at a stored position: the number makes it unique, the name readable."""
    class_id, _, file_name = name.rpartition("/")
    stem = file_name.rpartition(".")[0] or file_name
    readable = stem if stem.startswith(class_id) else f"{class_id}_{stem}"
    return f"{position:08d}_{_UNSAFE.sub('-', readable)[:MAX_STEM]}"


def names_in_key(key: str, class_ids: Sequence[str]) -> Iterator[str]:
    """Names a user may give a sample: its key, then shorter and shorter ends of it, down to the photograph's name.

    For `00000000_n01440764_ILSVRC2012_val_00000293`, the last is `ILSVRC2012_val_00000293`. A key that alexkit did not
    make is only shortened to what follows its last slash.

    Args:
        key: a sample's key.
        class_ids: the ids of the set's classes, one of which the key may contain.
    """
    yield key
    _, folder, file = key.rpartition("/")
    if folder:
        yield file
    position, _, name = key.partition("_")
    if not position.isdecimal() or len(position) != 8:
        return
    yield name
    prefixes = _prefixes(tuple(class_ids))
    ends = (end for end, character in enumerate(name, 1) if character == "_")
    yield from (name[end:] for end in ends if name[:end] in prefixes)


def photo_name(key: str, class_ids: Sequence[str]) -> str:
    """The photograph's name, or the shortest name known; see `names_in_key`."""
    return list(names_in_key(key, class_ids))[-1]


@functools.lru_cache(maxsize=4)
def _prefixes(class_ids: tuple[str, ...]) -> frozenset[str]:
    """What precedes the photograph's name in a key, for each class."""
    return frozenset(sample_key(0, f"{id}/x").removesuffix("x").partition("_")[2] for id in (*class_ids, UNLABELED))


def changed_lines(before: dict[str, object], now: dict[str, object]) -> Sequence[str]:
    """What differs between two flat descriptions, in a user's words; options appear under their command-line names."""
    changed = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    if changed & {field.name for field in fields(PixelOptions)}:
        changed.discard("probe")  # an image that was prepared with these options
    return [
        _SHA256_WORDS.get(name) or f"{_OPTIONS.get(name, name)} was {_shown(before, name)}, now {_shown(now, name)}"
        for name in sorted(changed)
    ]


_OPTIONS = {"size_px": "--size", "images_per_shard": "--images-per-shard", "max_pixels": "--max-pixels"}
_OPTIONS |= {
    name: f"--{name}" for name in ("chroma", "decode", "filter", "fit", "format", "lenient", "quality", "seed")
}
_SHA256_WORDS = {
    "source": "SOURCE has different files or labels than the set was built from",
    "probe": "the image libraries of this machine produce different bytes: install the same wheels",
}
_SHA256_WORDS |= {f"{split} files": f"SOURCE has different {split} files than when the run began" for split in SPLITS}


def _shown(description: dict[str, object], name: str) -> str:
    return f"{description.get(name, 'nothing')}"[:40]
