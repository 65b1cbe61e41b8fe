"""What a loader does to an image: named by the user, filled in with a shard set's numbers, handed to a backend."""

from .base import Augmentation, Jitter, Mean, MeanName
from .evaluation import CenterCrop, Evaluation, TenViews
from .plan import FixedViews, Normalization, PixelPlan, RandomViews, Views
from .training import CropDraw, TrainAugment

__all__ = [
    "Augmentation",
    "CenterCrop",
    "CropDraw",
    "Evaluation",
    "FixedViews",
    "Jitter",
    "Mean",
    "MeanName",
    "Normalization",
    "PixelPlan",
    "RandomViews",
    "TenViews",
    "TrainAugment",
    "Views",
]
