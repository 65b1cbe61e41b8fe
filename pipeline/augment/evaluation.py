"""Views for evaluation: the central crop, or the paper's ten."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ...errors import InputError
from ...prep import ShardSet
from .base import Augmentation
from .plan import FixedViews, View


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation(Augmentation):
    """What evaluations share: every sample once, in stored order; `mean_from` is the folder of the training set."""

    training: ClassVar[bool] = False

    def plan(self, shard_set: ShardSet) -> FixedViews:
        self._require_fit(shard_set)
        manifest = shard_set.manifest
        if self._reads_statistics() and self.mean_from is None and manifest.split != "train":
            raise InputError(
                f"{shard_set.folder}: this is the split {manifest.split!r}; evaluation subtracts the mean of the "
                "training set: give its folder as mean_from"
            )
        return FixedViews(
            size_px=manifest.pixels.size_px,
            crop_HW=self.crop_HW,
            normalization=self._normalization(shard_set, 1.0),
            fixed=self.fixed_views(manifest.pixels.size_px),
        )

    @abstractmethod
    def fixed_views(self, size_px: int) -> tuple[View, ...]:
        """The views of a stored square of this side."""

    def _center(self, size_px: int) -> tuple[int, int]:
        height, width = self.crop_HW
        return (size_px - height) // 2, (size_px - width) // 2


@dataclass(frozen=True, kw_only=True, slots=True)
class CenterCrop(Evaluation):
    """The central crop, not mirrored."""

    def fixed_views(self, size_px: int) -> tuple[View, ...]:
        top, left = self._center(size_px)
        return (View(top=top, left=left, mirror=False),)


@dataclass(frozen=True, kw_only=True, slots=True)
class TenViews(Evaluation):
    """Paper section 4.1: top left, top right, bottom left, bottom right, center; then their mirror images."""

    def fixed_views(self, size_px: int) -> tuple[View, ...]:
        bottom, right = size_px - self.crop_HW[0], size_px - self.crop_HW[1]
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), self._center(size_px)]
        return tuple(View(top=top, left=left, mirror=mirror) for mirror in (False, True) for top, left in corners)
