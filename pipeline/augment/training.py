"""Views for training: a random crop, mirrored at random, with the paper's color noise (section 4.1)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ...prep import ColorStatistics, ShardSet
from ..arguments import choice, flag
from .base import Augmentation, Jitter
from .plan import RandomViews

CropDraw = Literal["image", "group32"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainAugment(Augmentation):
    """Random crop, mirror image and color."""

    flip: bool = True
    """Whether every second image is mirrored left to right."""
    jitter: Jitter = "paper"
    """Color noise along the principal components: "paper" (eigenvalues of 0-1 pixels times N(0, 0.1)), "original" (the
    released code of 2012: standard deviations times N(0, 0.1), then everything / 1.1) or "off"."""
    crop_draw: CropDraw = "image"
    """"image": crop and mirror are drawn for each image; "group32": once for 32 consecutive images of the epoch's
    order, as in the released code of 2012."""

    training: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Augmentation.__post_init__(self)
        flag("flip", self.flip)
        choice("jitter", self.jitter, Jitter)
        choice("crop_draw", self.crop_draw, CropDraw)

    def plan(self, shard_set: ShardSet) -> RandomViews:
        self._require_fit(shard_set)
        size_px = shard_set.manifest.pixels.size_px
        shift_KC = None
        if self.jitter != "off":
            color = ColorStatistics.from_sums(self._statistics(shard_set).sums)
            # N(0, 0.1) times the eigenvalue of 0-1 pixels, back to 0-255; or times the standard deviation.
            eigenvalues_K = [value / 255 for value in color.eigenvalues_K]
            scale_K = eigenvalues_K if self.jitter == "paper" else color.standard_deviations_K
            shift_KC = (0.1 * np.array(scale_K)[:, None] * np.array(color.eigenvectors_KC)).astype(np.float32)
        return RandomViews(
            size_px=size_px,
            crop_HW=self.crop_HW,
            normalization=self._normalization(shard_set, 1 / 1.1 if self.jitter == "original" else 1.0),
            flip=self.flip,
            grouped=self.crop_draw == "group32",
            shift_KC=shift_KC,
        )
