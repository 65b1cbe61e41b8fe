"""Diagnose why a network does not learn, and tell a stalled network from a slow one.

The initialization printed in the paper is known to stall at the loss of guessing, ln(classes), for many epochs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import log, sqrt
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...pipeline import Batch
from ..network.wiring import Activation
from .learner import Learner

STALL_STEPS = 400  # steps without learning anything that count as a stall
STALL_MARGIN = 0.01  # relative: how much better than the baseline counts as learning
DIVERGING_MARGIN = 0.1  # relative: a network that only guesses, at a rate too high for its biases, deviates by less

Verdict = Literal["learning", "guessing", "diverging"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """Scores of networks that predict the same probabilities for every image, that is, learned class sizes at most."""

    loss: float
    """The lowest mean loss of such a network, in nats: the entropy of the labels."""
    highest_loss: float
    """The loss of predicting equal probabilities or the class frequencies of the training set, whichever is higher."""
    error: float
    """The lowest top-1 error of such a network, 0-1: that of always predicting the most common class."""

    @classmethod
    def of(cls, train_C: NDArray[np.int64], scored_C: NDArray[np.int64]) -> "Baseline":
        """The baseline on images with class counts `scored_C`, for a network trained on class counts `train_C`."""
        scored = scored_C / scored_C.sum()
        learned = (train_C + 1) / (train_C + 1).sum()  # + 1 for classes that are scored but not trained on
        present = scored[scored > 0]
        return cls(
            loss=float(-(present * np.log(present)).sum()),
            highest_loss=max(log(len(scored_C)), float(-(scored * np.log(learned)).sum())),
            error=1 - float(scored.max()),
        )

    def verdict(self, *, loss: float, error: float, num_images: int) -> Verdict:
        """Judge a network by its mean loss and top-1 error over `num_images` images.

        It is `learning` if either is better than the baseline: an overfitted network may have a higher loss than
        guessing, but not a higher error; and if one class is common, the loss is more informative than the error.
        Otherwise it is `guessing`, or `diverging` if its loss is higher still.
        """
        by_chance = 3 * sqrt(self.error * (1 - self.error) / num_images)  # three standard errors
        if error < self.error - max(STALL_MARGIN * self.error, by_chance) or loss < (1 - STALL_MARGIN) * self.loss:
            return "learning"
        return "guessing" if loss <= (1 + DIVERGING_MARGIN) * self.highest_loss else "diverging"


@torch.no_grad()
def dead_fractions(learner: Learner, images_NCHW: Tensor) -> dict[str, float]:
    """By ReLU layer, the fraction of maps or units in this process that are 0 at every position of every image."""
    fractions: dict[str, float] = {}
    network = learner.network

    def watch(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            alive = (output > 0).flatten(2).any(2) if output.ndim > 2 else output > 0
            fractions[name] = 1 - float(alive.any(0).float().mean())

        return layer.register_forward_hook(look)

    with _evaluating(network):
        rectified = [stage for stage in network.stages if Activation(kind="relu") in stage.layer.then]
        handles = [watch(stage.layer.name, stage.weights) for stage in rectified]
        try:
            with torch.autocast(learner.device.type, learner.precision, enabled=learner.precision != torch.float32):
                network(images_NCHW)
        finally:
            for handle in handles:
                handle.remove()
    return fractions


@torch.no_grad()
def update_ratios(learner: Learner) -> dict[str, float]:
    """By layer, the norm of the last update divided by the norm of the weights; about 0.001 in healthy training."""
    result = {}
    for name, parameter in learner.network.named_parameters():
        layer, _, kind = name.rpartition(".")
        if kind == "weight":
            norm = float(parameter.norm())
            result[layer] = float(learner.optimizer.momentum_buffer(parameter).norm()) / norm if norm else 0.0
    return result


def diagnose(learner: Learner, batch: Batch) -> list[str]:
    """Sentences about a stalled network, the most likely cause first."""
    words = []
    num_classes = learner.network.num_classes
    spread = float(batch.images.float().std())
    if not 10 < spread < 200:
        words.append(
            f"the input's standard deviation is {spread:.3g}; normalization and initialization expect gray levels 0-255"
        )
    present = torch.bincount(batch.labels, minlength=num_classes).double() / len(batch.labels)
    present = present[present > 0]
    entropy = abs(float((present * present.log()).sum()))
    possible = log(min(num_classes, len(batch.labels)))
    if entropy < 0.5 * possible:
        words.append(
            f"the labels of a batch have an entropy of {entropy:.2f} out of a possible {possible:.2f}: few classes"
        )
    dead = {name: fraction for name, fraction in dead_fractions(learner, batch.images).items() if fraction > 0.5}
    if dead:
        listed = ", ".join(f"{name} {fraction:.0%}" for name, fraction in dead.items())
        words.append(f"units that are 0 for every image: {listed}; lower training.rate or start over")
    ratios = update_ratios(learner)
    smallest = min(ratios, key=ratios.__getitem__)
    words.append(f"ratio of updates to weights: {', '.join(f'{name} {ratio:.1e}' for name, ratio in ratios.items())}")
    if ratios[smallest] < 1e-5:
        words.append(f"{smallest} hardly changes; network.init = 'original' or 'quick' preserves the signal")
    return words


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
