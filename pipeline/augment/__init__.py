"""What a loader does to an image: named by the user, filled in with a shard set's numbers, handed to a backend."""

from .base import Augmentation, Mean
from .evaluation import CenterCrop, Evaluation, TenViews
from .plan import FixedViews, Normalization, PixelPlan, RandomViews, Views
from .training import TrainAugment

__all__ = [
    "Augmentation",
    "CenterCrop",
    "Evaluation",
    "FixedViews",
    "Mean",
    "Normalization",
    "PixelPlan",
    "RandomViews",
    "TenViews",
    "TrainAugment",
    "Views",
]
