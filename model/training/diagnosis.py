"""Why does it not learn? Numbers that tell a stalled network from a slow one.

The paper's printed initialization is known to stall at the loss of guessing, ln(classes), for many epochs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import log

import torch
from torch import Tensor, nn

from ...pipeline import Batch
from ..network.wiring import Activation
from .learner import Learner

STALL_STEPS = 400  # so long at the loss of guessing is a stall
STALL_MARGIN = 0.01  # relative


def is_guessing(loss: float, num_classes: int) -> bool:
    """Whether a mean loss is no better than that of equal probabilities."""
    return loss > (1 - STALL_MARGIN) * log(num_classes)


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
