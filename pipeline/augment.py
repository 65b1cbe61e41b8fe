"""What a loader does to an image, as the user names it and as the graph needs it.

Three augmentations: `TrainAugment` (random crop, mirror, color), `CenterCrop` and `TenViews` (evaluation). Pixels stay
on the scale 0-255. In all of them a pixel becomes

    gain * (pixel - mean + shift)

with the mean of ALEXNET's variants, and the shift of the sample's color draw (PCA jitter, paper section 4.1).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..prep import ShardSet

JITTERS = ("paper", "original", "off")
MEANS = ("center", "crop", "channel", "none")
CROP_DRAWS = ("image", "group32")
GROUP_SIZE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What evaluations share. Every sample once, in stored order; `mean_from` is the folder of the training set."""

    crop: int = 224
    mean: str | float = "center"
    mean_from: str | Path | None = None

    def __post_init__(self) -> None:
        _check(self.crop, self.mean)


@dataclass(frozen=True, kw_only=True, slots=True)
class CenterCrop(Evaluation):
    """The central crop, not mirrored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TenViews(Evaluation):
    """Paper section 4.1: top left, top right, bottom left, bottom right, center; then their mirror images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainAugment:
    """Random crop, mirror image and color.

    `crop`: side in px. `flip`: mirror every second image. `jitter`: "paper" (eigenvalues of 0-1 pixels times
    N(0, 0.1)), "original" (released 2012 code: standard deviations times N(0, 0.1), then everything / 1.1), "off".
    `mean`: "center" (the central crop of the mean image, never mirrored: released code), "crop" (the mean image at the
    crop's own place, mirrored with it: Caffe), "channel", "none" or a number. `crop_draw`: "image", or "group32" (crop
    and mirror drawn once for 32 consecutive images of the epoch's order: released code). `mean_from`: the folder whose
    statistics are used; None means the loaded set's own.
    """

    crop: int = 224
    flip: bool = True
    jitter: str = "paper"
    mean: str | float = "center"
    crop_draw: str = "image"
    mean_from: str | Path | None = None

    def __post_init__(self) -> None:
        _check(self.crop, self.mean)
        if self.jitter not in JITTERS:
            raise InputError(f"jitter must be one of {', '.join(JITTERS)}, got {self.jitter!r}")
        if self.crop_draw not in CROP_DRAWS:
            raise InputError(f"crop_draw must be one of {', '.join(CROP_DRAWS)}, got {self.crop_draw!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One crop: its top left corner in px of the square of side `size_px`, and whether it is mirrored."""

    top: int
    left: int
    mirror: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelPlan:
    """An augmentation with the numbers of one shard set filled in: all that graph and reference need to know.

    `views`: fixed crops, or None for drawn ones. The mean to subtract is `mean_C` (float32, the average over places)
    plus `detail_HWC` (float32, what the mean image has beyond it; None where there is no mean image). The detail
    covers the crop (`detail_moves` False: one constant) or the whole image (True: cut and mirrored like the pixels).
    `shift_KC` (float32): the shift in gray levels of a draw of 1 along component k; None without jitter.
    """

    size_px: int
    crop_px: int
    views: tuple[View, ...] | None
    flip: bool
    mean_C: NDArray[np.float32]
    detail_HWC: NDArray[np.float32] | None
    detail_moves: bool
    shift_KC: NDArray[np.float32] | None
    gain: float

    @property
    def num_places(self) -> int:
        """Crop positions along one axis: 0 to size - crop inclusive."""
        return self.size_px - self.crop_px + 1

    def part(self, place: NDArray[np.int64]) -> NDArray[np.float32]:
        """A crop's place as a part, 0 to 1, of the free play along its axis; without play the middle.

        Sets that keep whole images have more play along the longer side; the same part of it is taken there.
        """
        if self.num_places == 1:
            return np.full(place.shape, 0.5, np.float32)
        return (place / (self.num_places - 1)).astype(np.float32)

    def scaled_detail_HWC(self) -> NDArray[np.float32]:
        """The detail as it is taken off a finished view."""
        assert self.detail_HWC is not None
        return self.detail_HWC * np.float32(self.gain)

    @property
    def changes_pixels(self) -> bool:
        """Whether anything but cropping and mirroring happens."""
        return bool(self.mean_C.any()) or self.detail_HWC is not None or self.shift_KC is not None or self.gain != 1.0


def plan_pixels(augment: TrainAugment | Evaluation, shard_set: ShardSet) -> PixelPlan:
    """Fill in the numbers of `shard_set`, or of `mean_from`.

    Raises InputError when the crop does not fit, or when an evaluation of another split than "train" would subtract
    that split's own mean.
    """
    pixels = shard_set.manifest.pixels
    if pixels.fit != "crop" and augment.mean == "crop":
        raise InputError(
            f"{shard_set.folder}: holds whole images (fit {pixels.fit!r}), but the mean image covers only their "
            "central square; choose mean='center' or 'channel'"
        )
    size, crop = pixels.size_px, augment.crop
    if crop > size:
        raise InputError(f"{shard_set.folder}: images of {size} px hold no crop of {crop} px; choose crop <= {size}")
    jitter = augment.jitter if isinstance(augment, TrainAugment) else "off"
    statistics = shard_set
    if jitter != "off" or augment.mean in ("center", "crop", "channel"):
        if augment.mean_from is not None:
            statistics = ShardSet.open(Path(augment.mean_from))
        elif isinstance(augment, Evaluation) and shard_set.manifest.split != "train":
            raise InputError(
                f"{shard_set.folder}: this is the split {shard_set.manifest.split!r}; evaluation subtracts the mean of "
                "the training set: give its folder as mean_from"
            )
    color = statistics.manifest.color
    mean_C = np.zeros(3, np.float32)
    detail_HWC = None
    if augment.mean == "channel":
        mean_C = np.array(color.mean_C, np.float32)
    elif isinstance(augment.mean, (int, float)):
        mean_C = np.full(3, augment.mean, np.float32)
    elif augment.mean in ("center", "crop"):
        mean_HWC = statistics.sums().mean_image_HWC()
        if mean_HWC.shape != (size, size, 3):
            raise InputError(f"{statistics.folder}: mean image of {mean_HWC.shape[0]} px, but images of {size} px")
        if augment.mean == "center":
            start = (size - crop) // 2
            mean_HWC = mean_HWC[start : start + crop, start : start + crop]
        mean_C = mean_HWC.mean(axis=(0, 1)).astype(np.float32)
        detail_HWC = (mean_HWC - mean_C).astype(np.float32)
    shift_KC = None
    if jitter != "off":
        # N(0, 0.1) times the eigenvalue of 0-1 pixels, back to 0-255; or times the standard deviation.
        scale_K = [value / 255 for value in color.eigenvalues_K] if jitter == "paper" else color.standard_deviations_K
        shift_KC = (0.1 * np.array(scale_K)[:, None] * np.array(color.eigenvectors_KC)).astype(np.float32)
    return PixelPlan(
        size_px=size,
        crop_px=crop,
        views=_views(augment, size),
        flip=isinstance(augment, TrainAugment) and augment.flip,
        mean_C=mean_C,
        detail_HWC=detail_HWC,
        detail_moves=augment.mean == "crop",
        shift_KC=shift_KC,
        gain=1 / 1.1 if jitter == "original" else 1.0,
    )


def _views(augment: TrainAugment | Evaluation, size: int) -> tuple[View, ...] | None:
    last, center = size - augment.crop, (size - augment.crop) // 2
    if isinstance(augment, TrainAugment):
        return None
    if isinstance(augment, CenterCrop):
        return (View(top=center, left=center, mirror=False),)
    places = [(0, 0), (0, last), (last, 0), (last, last), (center, center)]
    return tuple(View(top=top, left=left, mirror=mirror) for mirror in (False, True) for top, left in places)


def _check(crop: int, mean: str | float) -> None:
    if crop < 1:
        raise InputError(f"crop must be at least 1 px, got {crop}")
    if isinstance(mean, str) and mean not in MEANS:
        raise InputError(f"mean must be a number or one of {', '.join(MEANS)}, got {mean!r}")
