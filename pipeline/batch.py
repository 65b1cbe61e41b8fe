"""One batch, as the loader hands it over."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """B samples on one device.

    `images`: (B, 3, H, W), or (B, 10, 3, H, W) for ten views, in the loader's dtype; floats are gray levels 0-255 less
    the mean. `labels` and `indices`: int64 (B,), class and place in the shard set. `mask`: bool (B,), False where the
    row only fills the last batch of an evaluation. `keys`: the samples' names, on the host. `extras`: by
    extension, the content of the tar members that were asked for, None where a sample has none.
    """

    images: "torch.Tensor"
    labels: "torch.Tensor"
    indices: "torch.Tensor"
    mask: "torch.Tensor"
    keys: list[str]
    extras: dict[str, list[bytes | None]] = field(default_factory=dict)
