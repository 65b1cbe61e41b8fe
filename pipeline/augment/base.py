"""What all augmentations share: the size of a view and its normalization, checked when they are made."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...prep import ColorStatistics, PixelSums, ShardSet
from .plan import Normalization, PixelPlan

MeanName = Literal["center", "crop", "channel", "none"]
Mean = MeanName | float | Sequence[float]
Jitter = Literal["paper", "original", "off"]


class Statistics(NamedTuple):
    """Exact pixel sums, and where they are from, in words for messages."""

    where: str
    sums: PixelSums


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation(ABC):
    """A view of an image as floats. Pixels are gray levels 0-255 less the mean."""

    crop: int | tuple[int, int] = 224
    """Side of a view in px, or its (height, width)."""
    mean: Mean = "center"
    """What is subtracted: "center", the central crop of the mean image, never mirrored (as the released code of 2012);
    "crop", the mean image at the crop's own offset, mirrored with it (as Caffe); "channel", the mean color of the
    statistics; "none"; a number; or three numbers, for R, G and B."""
    mean_from: str | Path | PixelSums | None = None
    """Folder of the shard set whose statistics are used, or the statistics; None means the loaded set's own."""

    training: ClassVar[bool]
    """Whether a loader with this augmentation shuffles and repeats, or walks once through the stored order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "crop", _check_crop(self.crop))
        object.__setattr__(self, "mean", _check_mean(self.mean))
        if self.mean_from is not None and not isinstance(self.mean_from, str | Path | PixelSums):
            raise InputError(f"mean_from must be the folder of a shard set or its PixelSums, got {self.mean_from!r}")

    @abstractmethod
    def plan(self, shard_set: ShardSet) -> PixelPlan:
        """Fill in the numbers of `shard_set`, or of `mean_from`.

        Raises InputError when the crop does not fit, or when an evaluation of another split than "train" would subtract
        that split's own mean.
        """

    @property
    def crop_HW(self) -> tuple[int, int]:
        """Height and width of a view in px."""
        return self.crop if isinstance(self.crop, tuple) else (self.crop, self.crop)

    def _statistics(self, shard_set: ShardSet) -> Statistics:
        """The statistics that are used."""
        if isinstance(self.mean_from, PixelSums):
            return Statistics("the statistics given as mean_from", self.mean_from)
        chosen = shard_set if self.mean_from is None else ShardSet.open(Path(self.mean_from))
        return Statistics(str(chosen.folder), chosen.sums())

    def _require_fit(self, shard_set: ShardSet) -> None:
        pixels = shard_set.manifest.pixels
        height, width = self.crop_HW
        if max(height, width) > pixels.size_px:
            raise InputError(
                f"{shard_set.folder}: images of {pixels.size_px} px hold no crop of "
                f"{f'{height} px' if height == width else f'{height} x {width} px'}; choose crop <= {pixels.size_px} "
                "(a recipe for small images: --recipe cifar10-19), or make larger shards (alexprep shard --size 256)"
            )
        if pixels.fit != "crop" and self.mean == "crop":
            raise InputError(
                f"{shard_set.folder}: holds whole images (fit {pixels.fit!r}), but the mean image covers only their "
                "central square; choose mean='center' or 'channel'"
            )

    def _normalization(self, shard_set: ShardSet, gain: float) -> Normalization:
        """The mean and gain in gray levels; statistics are read only by the choices that need them."""
        mean_C = np.zeros(3, np.float32)
        residual_HWC = None
        if self.mean == "channel":
            mean_C = np.array(ColorStatistics.from_sums(self._statistics(shard_set).sums).mean_C, np.float32)
        elif self.mean in ("center", "crop"):
            mean_C, residual_HWC = self._mean_image(self._statistics(shard_set), shard_set.manifest.pixels.size_px)
        elif self.mean != "none":
            mean_C = np.broadcast_to(np.array(self.mean, np.float32), 3)
        return Normalization(
            mean_C=mean_C,
            residual_HWC=residual_HWC,
            residual_moves=self.mean == "crop",
            gain_C=np.full(3, gain, np.float32),
        )

    def _mean_image(self, statistics: Statistics, size_px: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The mean color and what the mean image has beyond it."""
        mean_HWC = statistics.sums.mean_image_HWC()
        if mean_HWC.shape != (size_px, size_px, 3):
            raise InputError(f"{statistics.where}: mean image of {mean_HWC.shape[0]} px, but images of {size_px} px")
        if self.mean == "center":
            top, left = ((size_px - side) // 2 for side in self.crop_HW)
            mean_HWC = mean_HWC[top : top + self.crop_HW[0], left : left + self.crop_HW[1]]
        mean_C = mean_HWC.mean(axis=(0, 1)).astype(np.float32)
        return mean_C, (mean_HWC - mean_C).astype(np.float32)

    def _reads_statistics(self) -> bool:
        return self.mean in ("center", "crop", "channel")


def _check_crop(crop: Any) -> int | tuple[int, int]:
    sides = crop if isinstance(crop, tuple | list) else (crop, crop)
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) and not isinstance(side, bool) for side in sides):
        raise InputError(f"crop must be a whole number of px or (height, width), got {crop!r}")
    if min(sides) < 1:
        raise InputError(f"crop must be at least 1 px, got {crop!r}")
    return int(sides[0]) if sides[0] == sides[1] else (int(sides[0]), int(sides[1]))


def _check_mean(mean: Any) -> Mean:
    if isinstance(mean, str):
        mean = "center" if mean == "centre" else mean
        if mean not in get_args(MeanName):
            names = ", ".join(get_args(MeanName))
            raise InputError(f"mean must be a number, three numbers or one of {names}, got {mean!r}")
        return mean  # type: ignore[no-any-return]
    return check_color("mean", mean)


def check_color(name: str, value: Any) -> float | tuple[float, float, float]:
    """A finite number, or one for each of R, G and B, as Python floats. Raises InputError for anything else."""
    try:
        numbers = np.asarray(value)
        if numbers.dtype.kind not in "iuf" or numbers.shape not in ((), (1,), (3,)):
            raise ValueError
        floats = [float(number) for number in numbers.reshape(-1)]
    except (TypeError, ValueError, RuntimeError):  # torch raises RuntimeError for tensors that are not on the host
        raise InputError(f"{name} must be a number or three, for R, G and B, got {value!r}") from None
    if not all(map(math.isfinite, floats)):
        raise InputError(f"{name} must be finite, got {value!r}")
    return floats[0] if len(floats) == 1 else (floats[0], floats[1], floats[2])
