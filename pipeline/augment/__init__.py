"""Image transforms: chosen by the user, completed with a shard set's statistics, computed by a backend."""

from .base import Augmentation, Jitter, Mean, MeanName, PixelRange, Std, StdName
from .color import ColorJitter, RandomErasing
from .evaluation import CenterCrop, Evaluation, TenViews
from .plan import FixedViews, Normalization, PixelPlan, RandomBoxes, RandomViews, Views
from .training import CropDraw, RandomResizedCrop, TrainAugment, Training

__all__ = [
    "Augmentation",
    "CenterCrop",
    "ColorJitter",
    "CropDraw",
    "Evaluation",
    "FixedViews",
    "Jitter",
    "Mean",
    "MeanName",
    "Normalization",
    "PixelPlan",
    "PixelRange",
    "RandomBoxes",
    "RandomErasing",
    "RandomResizedCrop",
    "RandomViews",
    "Std",
    "StdName",
    "TenViews",
    "TrainAugment",
    "Training",
    "Views",
]
