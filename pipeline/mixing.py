"""Mixup and cutmix of a finished batch, on its device.

Row b of B is mixed with row (b + B/2) mod B. Replicas take the rows of a global batch in turn, so with an even local
batch size a row has the same partner for any number of replicas. The coefficient is drawn once per global batch. Mixed
batches therefore remain functions of (seed, position).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..errors import InputError
from .arguments import number
from .epochs.order import random_of

_MIX_EPOCH = 2**63  # no order is drawn for an epoch this large
_CACHED_NUMBERS = 2**15 - 1  # from 2**15 on, torch divides an operation among threads


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """Mixup (Zhang et al., 2017) and cutmix (Yun et al., 2019). If both are on, a coin chooses one per batch."""

    mixup: float = 0.0
    """Parameter of the Beta distribution from which the coefficient is drawn; 0 turns mixup off."""
    cutmix: float = 0.0
    """The same for cutmix."""
    probability: float = 1.0
    """Probability that a batch is mixed."""

    def __post_init__(self) -> None:
        for name, most in (("mixup", 100), ("cutmix", 100), ("probability", 1)):
            object.__setattr__(self, name, number(name, getattr(self, name), 0, most))
        if not self.mixup and not self.cutmix:
            raise InputError("Mix needs mixup or cutmix above 0, e.g. Mix(mixup=0.2)")

    def apply(
        self, images: torch.Tensor, labels: torch.Tensor, num_classes: int, seed: int, batch_number: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mixed images, and class probabilities, float32 (B, num_classes), as `cross_entropy` accepts them.

        Args:
            images: (B, 3, H, W), floats; modified in place.
            labels: int64 (B,).
            num_classes: Number of classes in the class table.
            seed: The loader's seed.
            batch_number: Number of global batches before this one.
        """
        targets = torch.nn.functional.one_hot(labels, num_classes).float()
        random = random_of(seed, _MIX_EPOCH + batch_number)
        coin, kind = random.random_sample(2)
        if coin >= self.probability:
            return images, targets
        half = len(images) // 2
        other = torch.roll(targets, half, 0)
        if self.cutmix and (not self.mixup or kind < 0.5):
            own = random.beta(self.cutmix, self.cutmix)
            height, width = images.shape[-2:]
            cut_height, cut_width = (round(side * (1 - own) ** 0.5) for side in (height, width))
            top, left = random.randint(height - cut_height + 1), random.randint(width - cut_width + 1)
            for first, second in _pairs(images[..., top : top + cut_height, left : left + cut_width]):
                kept = first.clone()
                first.copy_(second)
                second.copy_(kept)
            own = 1 - cut_height * cut_width / (height * width)
        else:
            own = random.beta(self.mixup, self.mixup)
            for first, second in _pairs(images):
                kept = first.clone()
                first.lerp_(second, 1 - own)
                second.lerp_(kept, 1 - own)
        return images, targets.lerp_(other, 1 - own)


def _pairs(images: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Views of the batch's first half and of their partners.

    On a CPU they are parts of single images, small enough to stay in the cache and not to be divided among threads,
    which would wait for each other longer than they compute.
    """
    first, second = images.chunk(2)
    if images.device.type != "cpu":
        yield first, second
        return
    lines = max(_CACHED_NUMBERS // (images.shape[1] * images.shape[3]), 1)
    for pair in zip(first, second, strict=True):
        yield from zip(*(image.split(lines, dim=1) for image in pair), strict=True)
