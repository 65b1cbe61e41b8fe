"""What a shard set is on disk: pixel options, manifest, shards, statistics, and a set opened for reading."""

from .manifest import ClassEntry, Manifest, Quarantined
from .pixel_options import PixelOptions
from .sample_index import SampleIndex
from .shard_set import ShardSet
from .stats import ColorStatistics, PixelSums

__all__ = [
    "ClassEntry",
    "ColorStatistics",
    "Manifest",
    "PixelOptions",
    "PixelSums",
    "Quarantined",
    "SampleIndex",
    "ShardSet",
]
