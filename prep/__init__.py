"""Images to shards and statistics. Needs no GPU library."""

from .manifest import Manifest as Manifest
from .manifest import PixelOptions as PixelOptions
from .shard_set import ShardSet as ShardSet
from .stats import ColourStatistics as ColourStatistics
from .stats import PixelSums as PixelSums
