"""What all augmentations share: the size and normalization of a view, validated on construction."""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...prep import ColorStatistics, PixelSums, ShardSet
from ..arguments import choice
from ..remote import cache_of, open_set
from .plan import Normalization, PixelPlan


class Numbers(Protocol):
    """A NumPy array or torch tensor of one or three numbers."""

    def tolist(self) -> Any:
        """The values as Python numbers."""


MeanName = Literal["center", "crop", "channel", "imagenet", "none"]
Mean = MeanName | float | Sequence[float] | Numbers
StdName = Literal["channel", "imagenet", "none"]
Std = StdName | float | Sequence[float] | Numbers
PixelRange = Literal["0-255", "0-1"]
Jitter = Literal["paper", "original", "off"]

# ImageNet's training images with pixels in 0-1, as in torchvision's reference scripts.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Statistics(NamedTuple):
    """Exact pixel sums, and their origin as text for messages."""

    where: str
    sums: PixelSums


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation(ABC):
    """Transforms an image to views: crops whose pixels are normalized to (pixel - mean) / std."""

    crop: int | tuple[int, int] = 224
    """Size of a view in px: the side of a square, or (height, width)."""
    mean: Mean = "center"
    """What is subtracted: "center", the central crop of the mean image, never mirrored (as in the code released in
    2012); "crop", the mean image at the crop's own offset, mirrored with it (as in Caffe); "channel", the mean color
    from the statistics; "imagenet", (0.485, 0.456, 0.406) for pixels in 0-1; "none"; one number; or three, for R, G
    and B."""
    std: Std = "none"
    """What the difference is divided by: "channel", the standard deviation of each channel from the statistics;
    "imagenet", (0.229, 0.224, 0.225) for pixels in 0-1; "none"; one number; or three, for R, G and B."""
    pixel_range: PixelRange = "0-255"
    """Range of pixel values before the mean is subtracted; numbers passed as `mean` and `std` are on this scale, and
    those that can only be on the other one are refused."""
    mean_from: str | Path | PixelSums | None = None
    """Source of the statistics: the folder or URL of a shard set, or `PixelSums`. None means the loaded set.

    A URL is read through the loaded set's cache if that set is remote too, else through ALEXKIT_CACHE.
    """

    training: ClassVar[bool]
    """Whether a loader with this augmentation shuffles and repeats, or passes once through the stored order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "crop", _check_crop(self.crop))
        mean: Any = self.mean
        mean = "center" if isinstance(mean, str) and mean == "centre" else mean
        object.__setattr__(self, "mean", _check_color("mean", mean, MeanName))
        object.__setattr__(self, "std", _check_color("std", self.std, StdName))
        if not isinstance(self.std, str) and min(np.atleast_1d(np.asarray(self.std))) <= 0:
            raise InputError(f"std must be above 0, got {self.std!r}")
        choice("pixel_range", self.pixel_range, PixelRange)
        for name, value in (("mean", self.mean), ("std", self.std)):
            _check_scale(name, value, self.pixel_range)
        if self.mean_from is not None and not isinstance(self.mean_from, str | Path | PixelSums):
            raise InputError(
                f"mean_from must be the folder or URL of a shard set, or its PixelSums, got {self.mean_from!r}"
            )

    @abstractmethod
    def plan(self, shard_set: ShardSet) -> PixelPlan:
        """Complete the transform with the statistics of `shard_set` or of `mean_from`.

        Raises InputError if the crop does not fit, or if the evaluation of a split other than "train" would use that
        split's own statistics.
        """

    @property
    def crop_HW(self) -> tuple[int, int]:
        """Height and width of a view in px."""
        return self.crop if isinstance(self.crop, tuple) else (self.crop, self.crop)

    def _statistics(self, shard_set: ShardSet) -> Statistics:
        """The statistics to use."""
        if isinstance(self.mean_from, PixelSums):
            return Statistics("passed as mean_from", self.mean_from)
        if self.mean_from is None:
            return Statistics(str(shard_set.location), shard_set.sums())
        beside = cache_of(shard_set.folder)[0] if shard_set.url is not None else None
        chosen, remote = open_set(self.mean_from, beside, None)
        try:
            return Statistics(str(chosen.location), chosen.sums())
        finally:
            if remote is not None:
                remote.close()

    def _require_fit(self, shard_set: ShardSet, size_px: int) -> None:
        """Raise InputError if a view exceeds images with this shorter side, or the mean image does not cover them."""
        pixels, (height, width) = shard_set.manifest.pixels, self.crop_HW
        if max(height, width) > size_px:
            raise InputError(
                f"{shard_set.location}: a crop of {f'{height} px' if height == width else f'{height} x {width} px'} "
                f"does not fit images of {size_px} px; train a recipe for small images (--recipe cifar10-19), make "
                f"larger shards (alexprep shard --size 256), or pass crop={size_px} or less to the Loader"
            )
        if pixels.fit != "crop" and self.mean == "crop":
            raise InputError(
                f"{shard_set.location}: holds whole images (fit {pixels.fit!r}), but the mean image covers only their "
                "central square; choose mean='center' or 'channel'"
            )

    def _normalization(self, shard_set: ShardSet, gain: float) -> Normalization:
        """Mean and gain in gray levels; statistics are read only if the chosen options need them."""
        statistics = functools.cache(lambda: self._statistics(shard_set))  # they may be in an object store
        unit = 1.0 if self.pixel_range == "0-255" else 1 / 255
        mean_C: NDArray[Any] = np.zeros(3)
        residual_HWC: NDArray[np.float32] | None = None
        std_C: NDArray[Any] = np.ones(3)
        if self.mean in ("center", "crop"):
            mean_C, residual_HWC = self._mean_image(statistics(), shard_set)
        elif self.mean == "channel":
            mean_C = np.array(ColorStatistics.from_sums(statistics().sums).mean_C)
        elif self.mean == "imagenet":
            mean_C = 255 * np.array(IMAGENET_MEAN)
        elif self.mean != "none":
            mean_C = np.broadcast_to(np.asarray(self.mean, np.float64) / unit, 3)
        if self.std == "channel":
            std_C = unit * _channel_std_C(statistics())
        elif self.std == "imagenet":
            std_C = unit * 255 * np.array(IMAGENET_STD)
        elif self.std != "none":
            std_C = np.broadcast_to(np.asarray(self.std, np.float64), 3)
        return Normalization(
            mean_C=mean_C.astype(np.float32),
            residual_HWC=residual_HWC,
            residual_moves=self.mean == "crop",
            gain_C=(gain * unit / std_C).astype(np.float32),
        )

    def _mean_image(
        self, statistics: Statistics, shard_set: ShardSet
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The mean color, and the mean image minus the mean color."""
        mean_HWC, size_px = statistics.sums.mean_image_HWC(), shard_set.manifest.pixels.size_px
        if mean_HWC.shape != (size_px, size_px, 3):
            raise InputError(
                f"{shard_set.location}: images of {size_px} px, but the mean image to subtract ({statistics.where}) "
                f"has {mean_HWC.shape[0]} px; use shards of --size {mean_HWC.shape[0]}, or mean='channel'"
            )
        if self.mean == "center":
            top, left = ((size_px - side) // 2 for side in self.crop_HW)
            mean_HWC = mean_HWC[top : top + self.crop_HW[0], left : left + self.crop_HW[1]]
        mean_C = mean_HWC.mean(axis=(0, 1)).astype(np.float32)
        return mean_C, (mean_HWC - mean_C).astype(np.float32)

    def _reads_statistics(self) -> bool:
        return self.mean in ("center", "crop", "channel") or self.std == "channel"


def _check_crop(crop: Any) -> int | tuple[int, int]:
    sides = crop if isinstance(crop, tuple | list) else (crop, crop)
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) and not isinstance(side, bool) for side in sides):
        raise InputError(f"crop must be a whole number of px or (height, width), got {crop!r}")
    if min(sides) < 1:
        raise InputError(f"crop must be at least 1 px, got {crop!r}")
    return int(sides[0]) if sides[0] == sides[1] else (int(sides[0]), int(sides[1]))


def _check_color(name: str, value: Any, names: Any) -> Any:
    """`value` as a name, a finite float, or three for R, G and B. Raises InputError for anything else."""
    expected = f"{name} must be a number, three numbers or one of {', '.join(get_args(names))}, got {value!r}"
    if isinstance(value, str):
        if value not in get_args(names):
            raise InputError(expected)
        return value
    try:
        numbers = np.asarray(value)
        if numbers.dtype.kind not in "iuf" or numbers.shape not in ((), (1,), (3,)):
            raise ValueError
        floats = [float(number) for number in numbers.reshape(-1)]
    except (TypeError, ValueError, RuntimeError):  # torch raises RuntimeError for tensors that are not on the host
        raise InputError(expected) from None
    if not all(map(math.isfinite, floats)):
        raise InputError(f"{name} must be finite, got {value!r}")
    return floats[0] if len(floats) == 1 else tuple(floats)


def _check_scale(name: str, value: Any, pixel_range: PixelRange) -> None:
    """Raise InputError for numbers that are those of pixels in the other range, such as (0.485, 0.456, 0.406)."""
    largest = 0.0 if isinstance(value, str) else float(np.abs(value).max())
    other: PixelRange | None = None
    if pixel_range == "0-255" and 0 < largest < 1:
        other = "0-1"
    elif pixel_range == "0-1" and largest > 1:
        other = "0-255"
    if other is not None:
        raise InputError(
            f"{name} {value!r} is for pixels in {other}, but pixel_range is {pixel_range!r}; "
            f"pass pixel_range={other!r}, or numbers for {pixel_range}"
        )


def _channel_std_C(statistics: Statistics) -> NDArray[np.float64]:
    """The standard deviation of each channel in gray levels. Raises InputError if a channel does not vary."""
    where, sums = statistics
    variance_C = np.diag(np.array(ColorStatistics.from_sums(sums).covariance_CC))
    if flat := [name for name, variance in zip("RGB", variance_C, strict=True) if variance <= 0]:
        raise InputError(
            f"{where}: pixels do not vary in {', '.join(flat)}, so std='channel' would divide by 0; choose "
            "std='imagenet', 'none' or numbers"
        )
    std_C: NDArray[np.float64] = np.sqrt(variance_C)
    return std_C
