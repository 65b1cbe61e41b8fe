"""Shards to batches: pure order, pure randomness, decoding by DALI on CPU and GPU.

`Loader` and `measure_throughput` need torch and DALI, which are imported when one of the two is first asked for.
"""

from typing import TYPE_CHECKING, Any

from .augment import CentreCrop as CentreCrop
from .augment import TenViews as TenViews
from .augment import TrainAugment as TrainAugment
from .batch import Batch as Batch
from .foreign import adopt_webdataset as adopt_webdataset

if TYPE_CHECKING:
    from .loader import Loader as Loader
    from .throughput import measure_throughput as measure_throughput


def __getattr__(name: str) -> Any:
    if name == "Loader":
        from .loader import Loader

        return Loader
    if name == "measure_throughput":
        from .throughput import measure_throughput

        return measure_throughput
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
