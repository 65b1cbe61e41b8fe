"""The protocol between the loader and the backends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ...prep import PixelOptions
from ..augment.plan import Views
from ..storage.samples import Stored


class BackendError(RuntimeError):
    """A batch could not be computed: an image does not decode or has the wrong size, or DALI itself failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendOptions:
    """How batches are computed from stored images."""

    pixels: PixelOptions
    """Size and format of the stored images."""
    batch_size: int
    """Images per batch."""
    device: torch.device
    """Device of the finished batch."""
    num_threads: int
    """Threads for decoding and for the compiled step."""
    dtype: torch.dtype = torch.float32
    """Data type of the finished batch; with uint8, pixels stay gray levels."""
    channels_last: bool = False
    """Whether the finished batch has the channels_last memory format; its shape is the same."""
    operators: Callable[..., Any] | None = None
    """The user's operators: a function of a DALI node and, if it accepts one, of a `SeededRandom`."""
    hw_decoder_load: float = 0.0
    """Fraction of a batch's JPEGs that a GPU's hardware JPEG decoder decodes."""

    @property
    def raw_pixels(self) -> bool:
        """Whether pixels stay bytes, unnormalized."""
        return self.dtype == torch.uint8


class Backend(Protocol):
    """Batches go in with `start` and come out of `finish` in the same order, as the loader yields them."""

    num_random: int
    """Uniform numbers per sample that the user's operators need in `Views.random_BK`."""

    def __len__(self) -> int:
        """Number of batches started and not yet finished."""

    def start(self, images: Stored, views: Views) -> None:
        """Start computing one batch without waiting for it. Raises BackendError."""

    def finish(self) -> torch.Tensor:
        """The oldest batch: (B, 3, H, W), or (B, V, 3, H, W) for several views. Raises BackendError."""

    def close(self) -> None:
        """Release threads and memory, and drop the batches under way."""
