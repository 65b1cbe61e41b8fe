"""Images to shards and statistics. Needs no GPU library.

Importing it loads nothing: each name is imported on first access.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .build.adopt import adopt_webdataset
    from .build.build import build_shards
    from .build.integrity.repair import repair_set
    from .build.integrity.verify import verify_set
    from .build.options import BuildOptions
    from .format.manifest import Manifest
    from .format.pixel_options import PixelOptions
    from .format.shard_set import ShardSet
    from .format.stats import ColorStatistics, PixelSums
    from .sources.options import SourceOptions
    from .sources.recognize import open_source
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "BuildOptions": ".build.options",
            "ColorStatistics": ".format.stats",
            "Manifest": ".format.manifest",
            "PixelOptions": ".format.pixel_options",
            "PixelSums": ".format.stats",
            "ShardSet": ".format.shard_set",
            "SourceOptions": ".sources.options",
            "adopt_webdataset": ".build.adopt",
            "build_shards": ".build.build",
            "open_source": ".sources.recognize",
            "repair_set": ".build.integrity.repair",
            "verify_set": ".build.integrity.verify",
        },
    )

__all__ = [
    "BuildOptions",
    "ColorStatistics",
    "Manifest",
    "PixelOptions",
    "PixelSums",
    "ShardSet",
    "SourceOptions",
    "adopt_webdataset",
    "build_shards",
    "open_source",
    "repair_set",
    "verify_set",
]
