"""The protocol between the loader and whatever computes pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ...prep import PixelOptions
from ..augment.plan import Views
from ..storage.samples import Stored


class BackendError(RuntimeError):
    """A batch could not be computed: an image does not decode, has another size, or DALI itself failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendOptions:
    """How batches are computed from stored images."""

    pixels: PixelOptions
    """What the stored images are."""
    batch_size: int
    """Images of one batch."""
    device: torch.device
    """Where the finished batch lies."""
    num_threads: int
    """Threads for decoding and for the compiled step."""
    dtype: torch.dtype = torch.float32
    """Of the finished batch; uint8 leaves pixels as they are stored."""
    channels_last: bool = False
    """Memory format of the finished batch; its shape is the same."""
    operators: Callable[..., Any] | None = None
    """A user's own operators: a function of a DALI node, and if it takes a second argument of a `SeededRandom`."""
    hw_decoder_load: float = 0.0
    """The fraction of a batch's JPEGs that a GPU's JPEG unit decodes."""

    @property
    def raw_pixels(self) -> bool:
        """Whether pixels stay bytes."""
        return self.dtype == torch.uint8


class Backend(Protocol):
    """Batches go in with `start` and come out of `finish` in the same order, as the loader hands them over."""

    num_random: int
    """Uniform numbers that a user's operators want for each sample, `Views.random_BK`."""

    def __len__(self) -> int:
        """Batches started and not yet finished."""

    def start(self, images: Stored, views: Views) -> None:
        """Begin to compute one batch; returns while others work. Raises BackendError."""

    def finish(self) -> torch.Tensor:
        """The oldest batch: (B, 3, H, W), or (B, V, 3, H, W) for several views. Raises BackendError."""

    def close(self) -> None:
        """Give up threads, memory and the batches under way."""
