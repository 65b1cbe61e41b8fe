"""Options of random color changes and random erasing. Kernels and draws are in `kernels.py`."""

from dataclasses import dataclass

from ...errors import InputError
from ..arguments import number


@dataclass(frozen=True, kw_only=True, slots=True)
class ColorJitter:
    """Random brightness, contrast, saturation and hue for each image, drawn independently and uniformly.

    Together they are one affine map of RGB, applied to gray levels 0-255; the result is rounded and clipped to that
    range. The order is brightness, contrast about mid-gray 128, saturation about the pixel's own gray, and hue as a
    rotation about the gray axis of YIQ. DALI's `color_twist` uses the same definitions; torchvision scales contrast
    about the image's mean gray and rotates hue in HSV.
    """

    brightness: float = 0.0
    """Factor in [max(0, 1 - b), 1 + b]."""
    contrast: float = 0.0
    """Factor in [max(0, 1 - c), 1 + c]."""
    saturation: float = 0.0
    """Factor in [max(0, 1 - s), 1 + s]."""
    hue: float = 0.0
    """Angle in [-h, h], in turns; h is 0 to 0.5."""

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            object.__setattr__(self, name, number(name, getattr(self, name), 0, 100))
        object.__setattr__(self, "hue", number("hue", self.hue, 0, 0.5))


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomErasing:
    """Fills a random rectangle of some finished views with zeros (Zhong et al., "Random Erasing", 2017)."""

    probability: float = 0.5
    """Probability that a view is erased, 0 to 1."""
    scale: tuple[float, float] = (0.02, 0.33)
    """Minimum and maximum fraction of the view's area."""
    ratio: tuple[float, float] = (0.3, 3.3)
    """Minimum and maximum ratio of height to width; its logarithm is drawn uniformly."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "probability", number("probability", self.probability, 0, 1))
        object.__setattr__(self, "scale", check_range("scale", self.scale, 1.0))
        object.__setattr__(self, "ratio", check_range("ratio", self.ratio, 100.0))


def check_range(name: str, value: object, at_most: float) -> tuple[float, float]:
    """`value` as two numbers above 0, in ascending order. Raises InputError for anything else."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InputError(f"{name} must be two numbers, the minimum and the maximum, got {value!r}")
    low, high = (number(name, one, 1e-6, at_most) for one in value)
    if low > high:
        raise InputError(f"{name} must be two numbers, the minimum first, got {value!r}")
    return low, high
