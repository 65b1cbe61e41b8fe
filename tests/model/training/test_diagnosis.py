from math import log

import numpy as np
import pytest
import torch

from alexkit.model.network.tables import wiring
from alexkit.model.processes.layout import Layout
from alexkit.model.runs.load import load_recipe
from alexkit.model.runs.schedule import Plateau, Schedule
from alexkit.model.training.diagnosis import Baseline, dead_fractions, diagnose, update_ratios
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


def baseline(train: list[int], scored: list[int] | None = None) -> Baseline:
    return Baseline.of(np.array(train), np.array(scored or train))


@pytest.mark.parametrize(
    ("counts", "loss", "error", "verdict"),
    [
        ([1000] * 10, log(10), 0.9, "guessing"),
        ([1000] * 10, 0.995 * log(10), 0.895, "guessing"),  # better, but by no more than chance makes it
        ([1000] * 10, 0.98 * log(10), 0.9, "learning"),
        ([1000] * 10, 2.6, 0.4, "learning"),  # and overfits
        ([1000] * 10, 2.6, 0.9, "diverging"),
        ([1000] * 10, float("nan"), 1.0, "diverging"),
        ([8000, 2000], 0.5, 0.2, "guessing"),  # it knows which class is the commonest
        ([8000, 2000], log(2), 0.2, "guessing"),  # and not even that
        ([8000, 2000], 0.48, 0.2, "learning"),
        ([8000, 2000], 0.9, 0.15, "learning"),
        ([10, 10, 10, 10], 1.5, 0.6, "guessing"),  # better than 0.75, but of 40 images that is no sign
    ],
)
def test_a_network_has_learned_when_its_loss_or_its_error_says_so(
    counts: list[int], loss: float, error: float, verdict: str
) -> None:
    assert baseline(counts).verdict(loss=loss, error=error, num_images=sum(counts)) == verdict


def test_a_network_that_knows_the_training_sets_class_sizes_alone_guesses_on_any_split() -> None:
    other = baseline([8000, 2000, 0], [300, 400, 300])
    stalled = -(0.3 * log(0.8) + 0.4 * log(0.2) + 0.3 * log(1 / 10003))
    assert other.verdict(loss=stalled, error=0.7, num_images=1000) == "guessing"
    assert other.verdict(loss=log(3), error=0.7, num_images=1000) == "guessing"
    assert other.verdict(loss=1.0, error=0.7, num_images=1000) == "learning"


def test_the_rate_of_a_network_that_overfits_is_divided_and_that_of_one_that_stalls_is_not() -> None:
    def drops(*, loss: float, error: float) -> int:
        plateau, schedule = Plateau(), Schedule()
        for _ in range(37):
            verdict = baseline([1000] * 10).verdict(loss=loss, error=error, num_images=10_000)
            plateau = plateau.after(error, schedule, guessing=verdict == "guessing")
        return plateau.drops

    assert drops(loss=2.6, error=0.4) == 3
    assert drops(loss=log(10), error=0.9) == 0


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
        (batch(num_classes=1), "the labels of a batch have an entropy of 0.00 out of a possible 1.39"),
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
