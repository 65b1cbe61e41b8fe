"""An augmentation completed with the statistics of one shard set, and what it asks of a backend for each batch.

Every backend computes each channel of a finished pixel as

    gain * (pixel - mean - residual mean image + color shift)

in gray levels 0-255 before the gain. The pixel is stored or resized and may have gone through a color map; resizing and
the color map each round to gray levels. A plan turns the samples of a batch into `Views`; backends compute the views
and know neither seeds nor augmentations.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..epochs.schedule import LocalBatch
from .color import ColorJitter, RandomErasing

GROUP_SIZE = 32

Sampling = Literal["stored", "resized", "boxes"]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One crop of a stored image."""

    top: int
    """Top edge in px within a square of side `size_px`; in a whole image, the same normalized offset is used."""
    left: int
    """Left edge in px, as for `top`."""
    mirror: bool
    """Whether the crop is mirrored left to right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalization:
    """Converts stored gray levels to the values of a batch."""

    mean_C: NDArray[np.float32]
    """Mean color in gray levels 0-255, float32 (3,)."""
    residual_HWC: NDArray[np.float32] | None
    """The mean image minus its mean color, float32 gray levels; None if no mean image is subtracted."""
    residual_moves: bool
    """True: the residual covers the whole stored image and is cut and mirrored with it. False: it covers the crop."""
    gain_C: NDArray[np.float32]
    """Factor for each channel after the mean is subtracted, float32 (3,)."""

    @property
    def changes_pixels(self) -> bool:
        """Whether the values of a batch differ from the stored ones."""
        return bool(self.mean_C.any()) or self.residual_HWC is not None or bool((self.gain_C != 1).any())

    def mean_image_HWC(self) -> NDArray[np.float32]:
        """Everything that is subtracted, float32 gray levels: (3,) without a mean image, else (H, W, 3)."""
        return self.mean_C if self.residual_HWC is None else self.mean_C + self.residual_HWC

    def scaled_residual_HWC(self) -> NDArray[np.float32]:
        """The residual times the gain, which is subtracted from a finished view."""
        assert self.residual_HWC is not None
        return self.residual_HWC * self.gain_C


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """The V views of each of the B images of a batch."""

    offsets_BV2: NDArray[np.float32]
    """Crop offsets, top and left, normalized to [0, 1]: 0 at the top or left edge, 1 at the bottom or right edge; 0.5
    when the crop fills the axis."""
    mirrors_BV: NDArray[np.bool_]
    """Whether each view is mirrored left to right."""
    means_B3: NDArray[np.float32]
    """The color to subtract from each image, in gray levels: the mean color minus the image's color shift."""
    boxes_B4: NDArray[np.int32] | None = None
    """Top, left, height and width in px of the box of each stored image that is resized to the view."""
    sizes_B2: NDArray[np.int32] | None = None
    """Height and width in px to which each whole image is resized."""
    colors_B34: NDArray[np.float32] | None = None
    """Affine map of each image's colors: RGB' = M RGB + t, with M in the first three columns, gray levels."""
    erased_B4: NDArray[np.int32] | None = None
    """Top, left, height and width of the rectangle of zeros in each finished view; height and width are 0 for none."""
    random_BK: NDArray[np.float32] | None = None
    """Uniform numbers in (0, 1) for the user's operators, as many per sample as they requested."""

    def geometry(self) -> NDArray[np.int32] | None:
        """The boxes or sizes by which images are resized; None if they are not."""
        return self.boxes_B4 if self.boxes_B4 is not None else self.sizes_B2


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelPlan(ABC):
    """What backends and the reference need to know about an augmentation."""

    size_px: int
    """Shorter side in px of the images that views are cut from, after any resizing."""
    crop_HW: tuple[int, int]
    """Height and width of a view in px."""
    normalization: Normalization
    """Converts gray levels to the values of a batch."""
    sampling: Sampling = "stored"
    """"stored": pixels as they are; "resized": whole images are resized to `size_px`; "boxes": a box of each stored
    image is resized to the view. Resizing is antialiased bilinear and rounds to gray levels."""

    @property
    @abstractmethod
    def num_views(self) -> int:
        """Number of views of each image."""

    @abstractmethod
    def views(self, seed: int, batch: LocalBatch, shapes_B2: NDArray[np.int64]) -> Views:
        """The views of a batch's samples: a pure function of the seed and of the batch's epoch and samples.

        `shapes_B2` holds the heights and widths of the stored images in px; they matter only if `reads_shapes` is true.
        """

    @property
    def reads_shapes(self) -> bool:
        """Whether views depend on the size of each stored image if these are not all the same square."""
        return self.sampling != "stored"

    @property
    def twists_colors(self) -> bool:
        """Whether `Views.colors_B34` is set."""
        return False

    @property
    def erases(self) -> bool:
        """Whether `Views.erased_B4` is set."""
        return False

    @property
    def changes_pixels(self) -> bool:
        """Whether anything but crops, mirroring, color maps and erasing changes pixels, so bytes cannot hold them."""
        return self.normalization.changes_pixels

    @property
    def num_offsets_HW(self) -> tuple[int, int]:
        """Number of crop offsets along each axis of a square of side `size_px`: 0 to side - crop, inclusive."""
        return self.size_px - self.crop_HW[0] + 1, self.size_px - self.crop_HW[1] + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedViews(PixelPlan):
    """The same views of every image, for evaluations."""

    fixed: tuple[View, ...]
    """The views, in the order of a batch's second axis."""
    whole_images: bool = False
    """Whether images may be longer than the square along one side; offsets then mean an edge or the exact center."""

    @property
    def num_views(self) -> int:
        return len(self.fixed)

    def fixed_offsets_V2(self) -> NDArray[np.float32]:
        """Normalized offsets of the views, as in `Views.offsets_BV2`."""
        offsets_V2 = np.array([(view.top, view.left) for view in self.fixed], np.int64)
        return _fixed_offsets(self, offsets_V2, self.whole_images)

    def views(self, seed: int, batch: LocalBatch, shapes_B2: NDArray[np.int64]) -> Views:
        size = len(batch.indices_B)
        return Views(
            offsets_BV2=np.tile(self.fixed_offsets_V2(), (size, 1, 1)),
            mirrors_BV=np.tile([view.mirror for view in self.fixed], (size, 1)),
            means_B3=np.tile(self.normalization.mean_C, (size, 1)),
            sizes_B2=self._resized(shapes_B2) if self.sampling == "resized" else None,
        )

    def _resized(self, shapes_B2: NDArray[np.int64]) -> NDArray[np.int32]:
        """Heights and widths once the shorter side is resized to `size_px`; the longer one is rounded down."""
        shorter_B1: NDArray[np.int64] = shapes_B2.min(axis=1, keepdims=True, initial=2**31)
        resized_B2: NDArray[np.int32] = (self.size_px * shapes_B2 // shorter_B1).astype(np.int32)
        return resized_B2


def _fixed_offsets(plan: PixelPlan, offsets_V2: NDArray[np.int64], whole_images: bool) -> NDArray[np.float32]:
    """Offsets in px within the square, normalized, float32 (V, 2); in whole images, those of an edge or the center."""
    from .kernels import normalized_offsets  # Numba is heavy

    normalized_V2 = normalized_offsets(offsets_V2, plan.num_offsets_HW)
    return (np.round(2 * normalized_V2) / 2).astype(np.float32) if whole_images else normalized_V2


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomViews(PixelPlan):
    """One view of every image, drawn from (seed, epoch, sample)."""

    flip: bool
    """Whether a view is mirrored with probability 1/2."""
    grouped: bool
    """Whether `GROUP_SIZE` consecutive samples of an epoch share crop and mirroring, as in the code of 2012."""
    centered: bool = False
    """Whether every view is the central crop instead of one at a random offset."""
    whole_images: bool = False
    """Whether images may be longer than the square along one side; each is cropped anywhere along its own sides."""
    shift_KC: NDArray[np.float32] | None
    """Color shift in gray levels for a draw of 1 along principal component k, float32 (3, 3); None without jitter."""
    color: ColorJitter | None = None
    """Random brightness, contrast, saturation and hue."""
    grayscale: float = 0.0
    """Probability that an image loses its color."""
    erasing: RandomErasing | None = None
    """A random rectangle of zeros in some views."""

    @property
    def num_views(self) -> int:
        return 1

    @property
    def reads_shapes(self) -> bool:
        return self.sampling != "stored" or (self.whole_images and not self.centered)

    @property
    def changes_pixels(self) -> bool:
        return self.normalization.changes_pixels or self.shift_KC is not None

    @property
    def twists_colors(self) -> bool:
        return self.color is not None or self.grayscale > 0

    @property
    def erases(self) -> bool:
        return self.erasing is not None

    def views(self, seed: int, batch: LocalBatch, shapes_B2: NDArray[np.int64]) -> Views:
        from ..epochs.draws import draw  # Numba is heavy
        from .kernels import mean_colors, normalized_offsets

        crop_numbers_B = batch.numbers_B // GROUP_SIZE if self.grouped else batch.draws_B
        num_offsets: tuple[int, int] | NDArray[np.int64] = self.num_offsets_HW
        if self.whole_images and not self.centered:
            num_offsets = np.maximum(shapes_B2 - self.crop_HW, 0) + 1
        draws = draw(seed, batch.epoch, crop_numbers_B, batch.draws_B, num_offsets)
        if not self.flip:
            draws.mirror_B[:] = False
        offsets_B2 = normalized_offsets(draws.crop_B2, num_offsets)
        if self.centered:
            center_12 = (np.array([self.num_offsets_HW], np.int64) - 1) // 2
            offsets_B2[:] = _fixed_offsets(self, center_12, self.whole_images)
        return Views(
            offsets_BV2=offsets_B2[:, None],
            mirrors_BV=draws.mirror_B[:, None],
            means_B3=mean_colors(self.normalization.mean_C, self.shift_KC, draws.alpha_B3),
            boxes_B4=self._boxes(seed, batch, shapes_B2),
            colors_B34=self._colors(seed, batch),
            erased_B4=self._erased(seed, batch),
        )

    def _boxes(self, seed: int, batch: LocalBatch, shapes_B2: NDArray[np.int64]) -> NDArray[np.int32] | None:
        return None

    def _colors(self, seed: int, batch: LocalBatch) -> NDArray[np.float32] | None:
        if not self.twists_colors:
            return None
        from .kernels import draw_colors

        jitter = self.color or ColorJitter()
        widths = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        return draw_colors(seed, batch.epoch, batch.draws_B, widths, self.grayscale)

    def _erased(self, seed: int, batch: LocalBatch) -> NDArray[np.int32] | None:
        if self.erasing is None:
            return None
        from .kernels import draw_erased

        erasing = self.erasing
        return draw_erased(
            seed, batch.epoch, batch.draws_B, self.crop_HW, erasing.probability, erasing.scale, erasing.ratio
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomBoxes(RandomViews):
    """One box of every image, drawn from (seed, epoch, sample) and resized to the view."""

    scale: tuple[float, float]
    """Minimum and maximum fraction of the image's area."""
    ratio: tuple[float, float]
    """Minimum and maximum ratio of width to height."""

    @property
    def num_offsets_HW(self) -> tuple[int, int]:
        return 1, 1  # the resized box is the view

    def _boxes(self, seed: int, batch: LocalBatch, shapes_B2: NDArray[np.int64]) -> NDArray[np.int32]:
        from .kernels import draw_boxes

        return draw_boxes(seed, batch.epoch, batch.draws_B, shapes_B2, self.scale, self.ratio)


def warm_up_views(plan: PixelPlan) -> Views:
    """The views of an empty batch: computing them makes Numba compile now instead of at the first batch."""
    none = np.empty(0, np.int64)
    batch = LocalBatch(epoch=0, numbers_B=none, indices_B=none, draws_B=none, mask_B=none.astype(np.bool_))
    return plan.views(0, batch, np.empty((0, 2), np.int64))
