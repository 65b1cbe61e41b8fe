"""Why does it not learn? Numbers that tell a stalled network from a slow one.

The paper's printed initialization is known to stall at the loss of guessing, ln(classes), for many epochs.
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

STALL_STEPS = 400  # so long without having learned anything is a stall
STALL_MARGIN = 0.01  # relative: how much better than a baseline counts as learned
DIVERGING_MARGIN = 0.1  # relative: a network that guesses, with a rate too high for its biases, strays by less

Verdict = Literal["learning", "guessing", "diverging"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """What networks score that give every image the same probabilities: those that have learned at most class sizes."""

    loss: float
    """The lowest mean loss that one of them can have, in nats: the entropy of the labels."""
    highest_loss: float
    """The loss of equal probabilities, or of the training set's class sizes: the higher one."""
    error: float
    """The lowest top-1 error that one of them can have, 0-1: of answering the commonest class."""

    @classmethod
    def of(cls, train_C: NDArray[np.int64], scored_C: NDArray[np.int64]) -> "Baseline":
        """The baseline on images of these numbers by class, for a network trained on those."""
        scored = scored_C / scored_C.sum()
        learned = (train_C + 1) / (train_C + 1).sum()  # where a class is scored that is not trained
        present = scored[scored > 0]
        return cls(
            loss=float(-(present * np.log(present)).sum()),
            highest_loss=max(log(len(scored_C)), float(-(scored * np.log(learned)).sum())),
            error=1 - float(scored.max()),
        )

    def verdict(self, *, loss: float, error: float, num_images: int) -> Verdict:
        """What a mean loss and a top-1 error over so many images say of a network.

        It is `learning` when either is better than the baseline's: a network that overfits has a loss above that of
        guessing, but not its error, and where one class is common a loss tells more than an error. Else it is
        `guessing`, or `diverging` with a loss that is higher still.
        """
        by_chance = 3 * sqrt(self.error * (1 - self.error) / num_images)  # three standard errors
        if error < self.error - max(STALL_MARGIN * self.error, by_chance) or loss < (1 - STALL_MARGIN) * self.loss:
            return "learning"
        return "guessing" if loss <= (1 + DIVERGING_MARGIN) * self.highest_loss else "diverging"


@torch.no_grad()
def dead_fractions(learner: Learner, images_NCHW: Tensor) -> dict[str, float]:
    """By layer with a ReLU, the fraction of its maps or units held here that are 0 at every position of every image."""
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
    """By layer, the norm of the last update over the norm of the weights; about 0.001 when all is well."""
    result = {}
    for name, parameter in learner.network.named_parameters():
        layer, _, kind = name.rpartition(".")
        if kind == "weight":
            norm = float(parameter.norm())
            result[layer] = float(learner.optimizer.momentum_buffer(parameter).norm()) / norm if norm else 0.0
    return result


def diagnose(learner: Learner, batch: Batch) -> list[str]:
    """Sentences about a stalled network, the likeliest cause first."""
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
        words.append(f"the labels of a batch have an entropy of {entropy:.2f} of {possible:.2f} possible: few classes")
    dead = {name: fraction for name, fraction in dead_fractions(learner, batch.images).items() if fraction > 0.5}
    if dead:
        listed = ", ".join(f"{name} {fraction:.0%}" for name, fraction in dead.items())
        words.append(f"units that are 0 for every image: {listed}; lower training.rate or start again")
    ratios = update_ratios(learner)
    smallest = min(ratios, key=ratios.__getitem__)
    words.append(f"updates over weights: {', '.join(f'{name} {ratio:.1e}' for name, ratio in ratios.items())}")
    if ratios[smallest] < 1e-5:
        words.append(f"{smallest} hardly moves: network.init = 'original' or 'quick' lets the signal through")
    return words


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
