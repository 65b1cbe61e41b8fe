"""Short binary codes of images (paper, section 6.1) from an auto-encoder on the features of the last hidden layer.

The paper proposes it but reports no numbers. This one follows semantic hashing (Salakhutdinov and Hinton, 2009;
Krizhevsky and Hinton, 2011): the middle layer is a tanh with noise before it, so that its outputs become close to -1 or
1 and their signs lose little information. Features are standardized first.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ....errors import InputError

BATCH = 256
ROWS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeOptions:
    """How the auto-encoder is trained."""

    bits: int = 256
    """Length of a code; a multiple of 8."""
    hidden: int = 1024
    """Units of the hidden layers on both sides of the code."""
    epochs: int = 20
    """Passes over the features."""
    rate: float = 1e-3
    """Initial learning rate of Adam; it decays to zero along a half cosine."""
    noise: float = 1.0
    """Standard deviation of the Gaussian noise before the code's tanh in training."""
    seed: int = 0
    """Seed of the weights, order and noise."""

    def __post_init__(self) -> None:
        if self.bits < 8 or self.bits % 8:
            raise InputError(f"--bits {self.bits}: expected a multiple of 8, such as 128 or 256")


class AutoEncoder(nn.Module):
    """Features to codes and back."""

    mean_D: Tensor
    scale: Tensor

    def __init__(self, units: int, options: CodeOptions) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(units, options.hidden), nn.ReLU(), nn.Linear(options.hidden, options.bits)
        )
        self.decoder = nn.Sequential(
            nn.Linear(options.bits, options.hidden), nn.ReLU(), nn.Linear(options.hidden, units)
        )
        self.register_buffer("mean_D", torch.zeros(units))
        self.register_buffer("scale", torch.ones(()))

    def encode(self, features_ND: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Compute codes as packed bits, uint8 (N, bits / 8), most significant bit first."""
        result = []
        with torch.no_grad():
            for start in range(0, len(features_ND), ROWS):
                x = torch.from_numpy(np.asarray(features_ND[start : start + ROWS], np.float32))
                result.append(np.packbits((self.encoder(self.standardized(x)) > 0).numpy(), axis=1))
        return np.concatenate(result)

    def standardized(self, x_ND: Tensor) -> Tensor:
        """Subtract the mean from features and divide by a single scale, so that the order of distances is preserved."""
        return (x_ND - self.mean_D) / self.scale


def train_codes(
    features_ND: NDArray[np.floating], options: CodeOptions, report: Callable[[int], None] | None = None
) -> AutoEncoder:
    """Train an auto-encoder on features; the same features and options give the same codes on one machine.

    Args:
        features_ND: (images, units), any float dtype; may be memory-mapped.
        options: how to train.
        report: called with the images seen so far.
    """
    generator = torch.Generator().manual_seed(options.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = AutoEncoder(features_ND.shape[1], options)
    mean_D, square = _moments(features_ND)
    model.mean_D.copy_(mean_D)
    model.scale.fill_(max(square, 1e-12) ** 0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.rate)
    steps_per_epoch = -(-len(features_ND) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * steps_per_epoch)
    seen = 0
    for _ in range(options.epochs):
        order = torch.randperm(len(features_ND), generator=generator).numpy()
        for start in range(0, len(order), BATCH):
            rows = np.sort(order[start : start + BATCH])
            x = model.standardized(torch.from_numpy(np.asarray(features_ND[rows], np.float32)))
            inner = model.encoder(x)
            inner = inner + options.noise * torch.randn(inner.shape, generator=generator)
            loss = F.mse_loss(model.decoder(inner.tanh()), x)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            seen += len(rows)
            if report:
                report(seen)
    return model.eval()


def random_codes(features_ND: NDArray[np.floating], model: AutoEncoder, bits: int, seed: int = 0) -> NDArray[np.uint8]:
    """Signs of random projections of the same features: the baseline for a trained code."""
    generator = torch.Generator().manual_seed(seed)
    projection_DB = torch.randn(features_ND.shape[1], bits, generator=generator)
    result = []
    for start in range(0, len(features_ND), ROWS):
        x = model.standardized(torch.from_numpy(np.asarray(features_ND[start : start + ROWS], np.float32)))
        result.append(np.packbits((x @ projection_DB > 0).numpy(), axis=1))
    return np.concatenate(result)


def _moments(features_ND: NDArray[np.floating]) -> tuple[Tensor, float]:
    """The mean of each unit, and the variance over all units."""
    total_D = torch.zeros(features_ND.shape[1], dtype=torch.float64)
    squares = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(features_ND), ROWS):
        x = torch.from_numpy(np.asarray(features_ND[start : start + ROWS], np.float64))
        total_D += x.sum(0)
        squares += x.square().sum()
    mean_D = total_D / len(features_ND)
    return mean_D.float(), float(squares / features_ND.size - mean_D.square().mean())
