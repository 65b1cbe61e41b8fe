"""From shards to batches: deterministic order, deterministic augmentation, decoding with DALI on CPU and GPU.

`Loader` and `measure_throughput` need torch and DALI, which are imported when either name is first accessed.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .augment import (
    Augmentation,
    CenterCrop,
    ColorJitter,
    CropDraw,
    Jitter,
    Mean,
    MeanName,
    PixelRange,
    RandomErasing,
    RandomResizedCrop,
    Std,
    StdName,
    TenViews,
    TrainAugment,
)
from .batch import Batch
from .epochs.order import Order

if TYPE_CHECKING:
    from .backends.dali_graph import SeededRandom
    from .dataset import LoaderDataset
    from .epochs.sampling import ClassBalanced, Custom, Mixed, Subset, Weighted
    from .loader import Loader
    from .mixing import Mix
    from .preprocess import Preprocess
    from .targets import Example
    from .throughput import measure_throughput
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "ClassBalanced": ".epochs.sampling",
            "Custom": ".epochs.sampling",
            "Example": ".targets",
            "Loader": ".loader",
            "LoaderDataset": ".dataset",
            "Mix": ".mixing",
            "Mixed": ".epochs.sampling",
            "Preprocess": ".preprocess",
            "SeededRandom": ".backends.dali_graph",
            "Subset": ".epochs.sampling",
            "Weighted": ".epochs.sampling",
            "measure_throughput": ".throughput",
        },
    )

__all__ = [
    "Augmentation",
    "Batch",
    "CenterCrop",
    "ClassBalanced",
    "ColorJitter",
    "CropDraw",
    "Custom",
    "Example",
    "Jitter",
    "Loader",
    "LoaderDataset",
    "Mean",
    "MeanName",
    "Mix",
    "Mixed",
    "Order",
    "PixelRange",
    "Preprocess",
    "RandomErasing",
    "RandomResizedCrop",
    "SeededRandom",
    "Std",
    "StdName",
    "Subset",
    "TenViews",
    "TrainAugment",
    "Weighted",
    "measure_throughput",
]
