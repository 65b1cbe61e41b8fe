"""Random color and random erasing, as the user names them. Kernels and draws are in `kernels.py`."""

from dataclasses import dataclass

from ...errors import InputError
from ..arguments import number


@dataclass(frozen=True, kw_only=True, slots=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue of each image, drawn independently and uniformly.

    One affine map of RGB per image, applied to gray levels 0-255, then rounded and clipped to them: brightness first,
    then contrast about mid-gray 128, saturation about the pixel's own gray, hue as a rotation about the gray axis of
    YIQ. DALI's `color_twist` has the same definitions; torchvision's contrast turns about the mean gray of the image
    and its hue in HSV.
    """

    brightness: float = 0.0
    """Factor in [max(0, 1 - b), 1 + b]."""
    contrast: float = 0.0
    """Factor in [max(0, 1 - c), 1 + c]."""
    saturation: float = 0.0
    """Factor in [max(0, 1 - s), 1 + s]."""
    hue: float = 0.0
    """Angle in [-h, h], in turns, 0 to 0.5."""

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            object.__setattr__(self, name, number(name, getattr(self, name), 0, 100))
        object.__setattr__(self, "hue", number("hue", self.hue, 0, 0.5))


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomErasing:
    """A rectangle of zeros in some of the finished views (Zhong et al., "Random Erasing Data Augmentation", 2017)."""

    probability: float = 0.5
    """Of a view to be erased, 0 to 1."""
    scale: tuple[float, float] = (0.02, 0.33)
    """Least and greatest fraction of the view's area."""
    ratio: tuple[float, float] = (0.3, 3.3)
    """Least and greatest ratio of height to width, drawn uniformly in its logarithm."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "probability", number("probability", self.probability, 0, 1))
        object.__setattr__(self, "scale", check_range("scale", self.scale, 1.0))
        object.__setattr__(self, "ratio", check_range("ratio", self.ratio, 100.0))


def check_range(name: str, value: object, at_most: float) -> tuple[float, float]:
    """Two numbers above 0, in order. Raises InputError for anything else."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InputError(f"{name} must be two numbers, the least and the greatest, got {value!r}")
    low, high = (number(name, one, 1e-6, at_most) for one in value)
    if low > high:
        raise InputError(f"{name} must be two numbers, the least first, got {value!r}")
    return low, high
