"""Views for evaluation: the central crop, or the paper's ten."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ...errors import InputError
from ...prep import ShardSet
from ..arguments import whole_number
from .base import Augmentation
from .plan import FixedViews, View


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation(Augmentation):
    """What evaluations share: every sample once, in stored order. Pass the training set as `mean_from`."""

    resize: int | None = None
    """Shorter side in px to which images are resized before cropping, antialiased bilinear; None keeps the stored size.
    Views larger than the stored images require it."""

    training: ClassVar[bool] = False

    def __post_init__(self) -> None:
        Augmentation.__post_init__(self)
        if self.resize is not None:
            object.__setattr__(self, "resize", whole_number("resize", self.resize, at_least=1, at_most=2**15))

    def plan(self, shard_set: ShardSet) -> FixedViews:
        manifest, stored_px = shard_set.manifest, shard_set.manifest.pixels.size_px
        size_px = self.resize or stored_px
        self._require_fit(shard_set, size_px)
        if size_px != stored_px and self.mean in ("center", "crop"):
            raise InputError(
                f"{shard_set.location}: the mean image has {stored_px} px, but images are resized to {size_px} px; "
                "choose mean='channel', 'imagenet' or numbers"
            )
        if self._reads_statistics() and self.mean_from is None and manifest.split != "train":
            raise InputError(
                f"{shard_set.location}: this is the split {manifest.split!r}, but an evaluation uses the statistics of "
                "the training set; pass its folder or URL as mean_from"
            )
        return FixedViews(
            size_px=size_px,
            crop_HW=self.crop_HW,
            normalization=self._normalization(shard_set, 1.0),
            sampling="stored" if size_px == stored_px else "resized",
            fixed=self.fixed_views(size_px),
            whole_images=manifest.pixels.fit == "shorter",
        )

    @abstractmethod
    def fixed_views(self, size_px: int) -> tuple[View, ...]:
        """The views of a square image with this side in px."""

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
    """The paper's ten views (section 4.1): top left, top right, bottom left, bottom right, center; then mirrored."""

    def fixed_views(self, size_px: int) -> tuple[View, ...]:
        bottom, right = size_px - self.crop_HW[0], size_px - self.crop_HW[1]
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), self._center(size_px)]
        return tuple(View(top=top, left=left, mirror=mirror) for mirror in (False, True) for top, left in corners)
