"""An augmentation with the numbers of one shard set filled in, and what it asks of a backend for one batch.

A finished pixel is, on every backend and channel by channel,

    gain * (pixel - mean - residual mean image + color shift)

in gray levels 0-255 before the gain. A plan turns the samples of a batch into `Views`; backends compute them and know
neither seeds nor augmentations.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..schedule import LocalBatch

GROUP_SIZE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One crop of a stored image."""

    top: int
    """Upper edge in px of the square of the stored side; of a whole image the same normalized offset is taken."""
    left: int
    """Left edge in px, likewise."""
    mirror: bool
    """Whether the crop is mirrored left to right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalization:
    """What turns stored gray levels into the numbers of a batch."""

    mean_C: NDArray[np.float32]
    """Mean color in gray levels 0-255, float32 (3,)."""
    residual_HWC: NDArray[np.float32] | None
    """What the mean image has beyond its mean color, float32 gray levels; None where there is no mean image."""
    residual_moves: bool
    """True: the residual covers the whole stored image and is cut and mirrored with it. False: it covers the crop."""
    gain_C: NDArray[np.float32]
    """Factor on each channel after the mean is subtracted, float32 (3,)."""

    @property
    def changes_pixels(self) -> bool:
        """Whether the numbers of a batch are anything but the stored ones."""
        return bool(self.mean_C.any()) or self.residual_HWC is not None or bool((self.gain_C != 1).any())

    def mean_image_HWC(self) -> NDArray[np.float32]:
        """All that is subtracted, float32 gray levels: (3,) without a mean image, else (H, W, 3)."""
        return self.mean_C if self.residual_HWC is None else self.mean_C + self.residual_HWC

    def scaled_residual_HWC(self) -> NDArray[np.float32]:
        """The residual as it is subtracted from a finished view."""
        assert self.residual_HWC is not None
        return self.residual_HWC * self.gain_C


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """The V views wanted of each of the B images of a batch."""

    offsets_BV2: NDArray[np.float32]
    """Crop offsets, top and left, normalized to [0, 1]: 0 at the upper or left edge, 1 at the other; 0.5 when the crop
    fills the axis."""
    mirrors_BV: NDArray[np.bool_]
    """Whether each view is mirrored left to right."""
    means_B3: NDArray[np.float32]
    """The color to subtract from each image, gray levels: the mean color less the image's color shift."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelPlan(ABC):
    """What graph and reference need to know of an augmentation."""

    size_px: int
    """Shorter side of the stored images in px."""
    crop_HW: tuple[int, int]
    """Height and width of a view in px."""
    normalization: Normalization
    """What turns gray levels into the numbers of a batch."""

    @property
    @abstractmethod
    def num_views(self) -> int:
        """Views of each image."""

    @abstractmethod
    def views(self, seed: int, batch: LocalBatch) -> Views:
        """The views of the samples of a batch: a pure function of the seed and the batch's epoch and numbers."""

    @property
    def changes_pixels(self) -> bool:
        """Whether anything but cropping and mirroring happens, so that a batch cannot hold stored pixels."""
        return self.normalization.changes_pixels

    @property
    def num_offsets_HW(self) -> tuple[int, int]:
        """Crop offsets along each axis of a stored square: 0 to side - crop inclusive."""
        return self.size_px - self.crop_HW[0] + 1, self.size_px - self.crop_HW[1] + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedViews(PixelPlan):
    """The same views of every image, as evaluations have them."""

    fixed: tuple[View, ...]
    """The views, in the order of a batch's second axis."""

    @property
    def num_views(self) -> int:
        return len(self.fixed)

    def views(self, seed: int, batch: LocalBatch) -> Views:
        from .kernels import normalized_offsets  # Numba is heavy

        offsets_V2 = np.array([(view.top, view.left) for view in self.fixed], np.int64)
        size = len(batch.indices_B)
        return Views(
            offsets_BV2=np.tile(normalized_offsets(offsets_V2, self.num_offsets_HW), (size, 1, 1)),
            mirrors_BV=np.tile([view.mirror for view in self.fixed], (size, 1)),
            means_B3=np.tile(self.normalization.mean_C, (size, 1)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomViews(PixelPlan):
    """One view of every image, drawn from (seed, epoch, sample)."""

    flip: bool
    """Whether every second view is mirrored."""
    grouped: bool
    """Whether `GROUP_SIZE` consecutive samples of an epoch share crop and mirror, as in the released code of 2012."""
    shift_KC: NDArray[np.float32] | None
    """Color shift in gray levels of a draw of 1 along principal component k, float32 (3, 3); None without jitter."""

    @property
    def num_views(self) -> int:
        return 1

    @property
    def changes_pixels(self) -> bool:
        return self.normalization.changes_pixels or self.shift_KC is not None

    def views(self, seed: int, batch: LocalBatch) -> Views:
        from ..draws import draw  # Numba is heavy
        from .kernels import mean_colors, normalized_offsets

        crop_numbers_B = batch.numbers_B // GROUP_SIZE if self.grouped else batch.indices_B
        draws = draw(seed, batch.epoch, crop_numbers_B, batch.indices_B, self.num_offsets_HW)
        if not self.flip:
            draws.mirror_B[:] = False
        return Views(
            offsets_BV2=normalized_offsets(draws.crop_B2, self.num_offsets_HW)[:, None],
            mirrors_BV=draws.mirror_B[:, None],
            means_B3=mean_colors(self.normalization.mean_C, self.shift_KC, draws.alpha_B3),
        )
