from math import log

import pytest
import torch

from alexkit.model.network.tables import wiring
from alexkit.model.processes.layout import Layout
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.diagnosis import dead_fractions, diagnose, is_guessing, update_ratios
from alexkit.model.training.learner import Learner
from alexkit.pipeline import Batch


def learner() -> Learner:
    recipe = load_recipe("cifar10-19", ["training.batch_size=16"])
    return Learner(recipe, wiring(recipe.network), 4, layout=Layout(1), device=torch.device("cpu"))


def batch(spread: float = 60.0, num_classes: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.randn(16, 3, 32, 32, generator=generator) * spread,
        labels=torch.arange(16) % num_classes,
        indices=torch.arange(16),
        mask=torch.ones(16, dtype=torch.bool),
        keys=[f"sample-{i}" for i in range(16)],
    )


def test_guessing_is_the_loss_of_equal_probabilities() -> None:
    assert is_guessing(log(10), 10) and is_guessing(log(10) * 0.995, 10)
    assert not is_guessing(log(10) * 0.98, 10)


def test_a_unit_is_dead_when_nothing_wakes_it() -> None:
    mine = learner()
    with torch.no_grad():
        mine.network.get_parameter("conv2.bias")[:8] = -1e6
    fractions = dead_fractions(mine, batch().images)
    assert fractions["conv2"] == 8 / 32 and fractions["conv3"] < 0.2
    assert set(fractions) == {"conv1", "conv2", "conv3"}  # the last layer has no ReLU
    assert mine.network.training


def test_update_ratios_are_the_last_updates_over_the_weights() -> None:
    mine = learner()
    before = {name: x.detach().clone() for name, x in mine.network.named_parameters()}
    mine.train_step(batch(), 0.001)
    for layer, ratio in update_ratios(mine).items():
        after = mine.network.get_parameter(f"{layer}.weight").detach()
        assert ratio == pytest.approx(float((after - before[f"{layer}.weight"]).norm() / after.norm()), rel=1e-3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (batch(spread=0.5), "the input's standard deviation is 0.5; normalization and initialization expect"),
        (batch(num_classes=1), "the labels of a batch have an entropy of 0.00 of 1.39 possible"),
    ],
)
def test_a_stalls_likely_reason_is_named(given: Batch, words: str) -> None:
    mine = learner()
    mine.train_step(given, 0.001)
    assert any(words in sentence for sentence in diagnose(mine, given))


def test_dead_layers_are_named() -> None:
    mine = learner()
    mine.train_step(batch(), 0.001)
    with torch.no_grad():
        mine.network.get_parameter("conv3.bias").fill_(-1e6)
    assert any("0 for every image: conv3 100%" in sentence for sentence in diagnose(mine, batch()))
