"""Images to shards and statistics. Needs no GPU library."""

from .format import ColorStatistics, Manifest, PixelOptions, PixelSums, ShardSet

__all__ = ["ColorStatistics", "Manifest", "PixelOptions", "PixelSums", "ShardSet"]
