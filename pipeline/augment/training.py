"""Views for training: a random crop as in the paper (section 4.1), or a random resized crop; color and erasing."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ...errors import InputError
from ...prep import ColorStatistics, ShardSet
from ..arguments import choice, flag, number
from .base import Augmentation, Jitter
from .color import ColorJitter, RandomErasing, check_range
from .plan import RandomBoxes, RandomViews

CropDraw = Literal["image", "group32", "center"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Training(Augmentation):
    """What training augmentations share: mirroring, color and erasing, all drawn from (seed, epoch, sample)."""

    flip: bool = True
    """Whether images are mirrored left to right with probability 1/2."""
    jitter: Jitter = "paper"
    """Color noise along the principal components: "paper" (eigenvalues for pixels in 0-1, times N(0, 0.1)), "original"
    (the code released in 2012: standard deviations times N(0, 0.1), then everything / 1.1) or "off"."""
    color: ColorJitter | None = None
    """Random brightness, contrast, saturation and hue, applied before color noise and mean; None for no change."""
    grayscale: float = 0.0
    """Probability that an image loses its color, 0 to 1."""
    erasing: RandomErasing | None = None
    """Random rectangles of zeros in some finished views; None for no erasing."""

    training: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Augmentation.__post_init__(self)
        flag("flip", self.flip)
        choice("jitter", self.jitter, Jitter)
        if self.color is not None and not isinstance(self.color, ColorJitter):
            raise InputError(f"color must be ColorJitter(...) or None, got {self.color!r}")
        object.__setattr__(self, "grayscale", number("grayscale", self.grayscale, 0, 1))
        if self.erasing is not None and not isinstance(self.erasing, RandomErasing):
            raise InputError(f"erasing must be RandomErasing(...) or None, got {self.erasing!r}")

    def _common(self, shard_set: ShardSet) -> dict[str, Any]:
        """The fields of a plan that all training augmentations fill in the same way."""
        shift_KC = None
        if self.jitter != "off":
            color = ColorStatistics.from_sums(self._statistics(shard_set).sums)
            # N(0, 0.1) times the eigenvalue for pixels in 0-1, back to 0-255; or times the standard deviation.
            eigenvalues_K = [value / 255 for value in color.eigenvalues_K]
            scale_K = eigenvalues_K if self.jitter == "paper" else color.standard_deviations_K
            shift_KC = (0.1 * np.array(scale_K)[:, None] * np.array(color.eigenvectors_KC)).astype(np.float32)
        return {
            "size_px": shard_set.manifest.pixels.size_px,
            "crop_HW": self.crop_HW,
            "normalization": self._normalization(shard_set, 1 / 1.1 if self.jitter == "original" else 1.0),
            "flip": self.flip,
            "shift_KC": shift_KC,
            "color": self.color,
            "grayscale": self.grayscale,
            "erasing": self.erasing,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainAugment(Training):
    """A random crop without resizing, random mirroring and random color."""

    crop_draw: CropDraw = "image"
    """"image": crop and mirroring are drawn for each image; "group32": once for 32 consecutive images of the epoch's
    order, as in the code released in 2012; "center": the central crop of every image."""

    def __post_init__(self) -> None:
        Training.__post_init__(self)
        choice("crop_draw", self.crop_draw, CropDraw)

    def plan(self, shard_set: ShardSet) -> RandomViews:
        self._require_fit(shard_set, shard_set.manifest.pixels.size_px)
        return RandomViews(
            **self._common(shard_set),
            sampling="stored",
            grouped=self.crop_draw == "group32",
            centered=self.crop_draw == "center",
            whole_images=shard_set.manifest.pixels.fit == "shorter",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomResizedCrop(Training):
    """A random box of the stored image, resized to the view: "Inception" crops, drawn as in torchvision.

    The box is cut first, then resized with an antialiased bilinear filter, within 3 gray levels of Pillow's BILINEAR.
    If the set keeps whole images (`alexprep shard --fit shorter`), boxes are drawn from the whole image.
    """

    mean: Any = "imagenet"
    """As in `Augmentation`, except "center" and "crop": a mean image does not fit resized boxes."""
    std: Any = "imagenet"
    """As in `Augmentation`."""
    jitter: Jitter = "off"
    """As in `TrainAugment`."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Minimum and maximum fraction of the image's area."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Minimum and maximum ratio of width to height; its logarithm is drawn uniformly."""

    def __post_init__(self) -> None:
        Training.__post_init__(self)
        if self.mean in ("center", "crop"):
            raise InputError(
                f"mean {self.mean!r} is an image, which does not fit resized boxes; choose 'channel', 'imagenet', "
                "'none' or numbers"
            )
        object.__setattr__(self, "scale", check_range("scale", self.scale, 1.0))
        object.__setattr__(self, "ratio", check_range("ratio", self.ratio, 100.0))

    def plan(self, shard_set: ShardSet) -> RandomBoxes:
        return RandomBoxes(
            **self._common(shard_set), sampling="boxes", grouped=False, scale=self.scale, ratio=self.ratio
        )
