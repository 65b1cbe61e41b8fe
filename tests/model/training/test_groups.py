import pytest

from alexkit.model.network.tables import wiring
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.groups import GroupSettings, group_settings

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


def found_settings(name: str, *overrides: str) -> dict[str, GroupSettings]:
    recipe = load_recipe(name, overrides)
    return group_settings(recipe, wiring(recipe.network))


@pytest.mark.parametrize("bias_rate", [1.0, 2.0])
def test_weights_decay_and_biases_do_not(bias_rate: float) -> None:
    weights = {f"{layer}.weight": GroupSettings(factor=1.0, weight_decay=0.0005) for layer in LAYERS}
    biases = {f"{layer}.bias": GroupSettings(factor=bias_rate, weight_decay=0.0) for layer in LAYERS}
    assert found_settings("paper", f"training.bias_rate={bias_rate}") == weights | biases


def test_biases_decay_when_they_are_told_to() -> None:
    found = found_settings("paper", "training.decay_biases=true")
    assert {settings.weight_decay for settings in found.values()} == {0.0005}


def decays(*overrides: str) -> dict[str, float]:
    found = found_settings("cifar10-19", *overrides)
    return {name.partition(".")[0]: s.weight_decay for name, s in found.items() if name.endswith(".weight")}


def test_layers_have_the_decay_of_their_network_unless_the_recipe_names_one() -> None:
    assert decays() == {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004, "fc10": 3.0}
    assert decays("training.weight_decay=0") == {"conv1": 0, "conv2": 0, "conv3": 0, "fc10": 0}
    one = "training.param_groups=[{match=['fc10.weight'], weight_decay=1}]"
    assert decays(one) == {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004, "fc10": 1.0}
    assert decays(one, "training.weight_decay=0.1") == {"conv1": 0.1, "conv2": 0.1, "conv3": 0.1, "fc10": 1.0}


def test_net_145_learns_by_the_rates_that_its_files_record() -> None:
    recipe = load_recipe("original")
    found = group_settings(recipe, wiring(recipe.network))

    def rates(parameter: str, epochs: list[float]) -> list[float]:
        factors = [recipe.schedule.factor(epoch=epoch, epochs=90, drops=0) for epoch in epochs]
        return [found[parameter].lr(0.01 * f, epoch) for f, epoch in zip(factors, epochs, strict=True)]

    # Its log counts epochs from 1: what it has at 25, 51, 67, 72 and 79 comes after one epoch less.
    epochs = [0, 23.99, 24, 49.99, 50, 65.99, 66, 70.99, 71, 78, 89.99]
    assert rates("conv1.weight", epochs) == pytest.approx([1e-2, 1e-2, *[1e-3] * 2, *[1e-4] * 2, *[1e-5] * 2, 0, 0, 0])
    assert rates("conv2.weight", epochs) == pytest.approx([1e-2, 1e-2, *[1e-3] * 2, *[1e-4] * 5, *[1e-5] * 2])
    assert rates("conv2.bias", epochs) == [0.02] * 11
    assert rates("conv1.bias", epochs) == [*[0.02] * 8, 0, 0, 0]


def test_of_several_groups_that_match_the_last_one_counts() -> None:
    groups = (
        "[{match=['*.bias'], rates=[[0, 0.02]], weight_decay=0.1}, {match=['conv2.bias'], rates=[[0, 1], [2.5, 3]]}]"
    )
    found = found_settings("paper", f"training.param_groups={groups}")
    assert found["conv1.bias"].lr(0.5, 7) == 0.02 and found["conv1.bias"].weight_decay == 0.1
    assert [found["conv2.bias"].lr(0.5, epoch) for epoch in (0, 2.49, 2.5, 90)] == [1, 1, 3, 3]
    assert found["conv2.bias"].weight_decay == 0.1
    assert found["conv2.weight"].lr(0.5, 7) == 0.5


def test_a_layers_factor_holds_for_absolute_rates_too_so_that_0_freezes_it() -> None:
    found = found_settings("original", "training.rates.conv1=0", "training.rates.conv2=0.5")
    assert [found[f"conv1.{kind}"].lr(0.01, 3) for kind in ("weight", "bias")] == [0, 0]
    assert [found[f"conv2.{kind}"].lr(0.01, 3) for kind in ("weight", "bias")] == [0.005, 0.01]
