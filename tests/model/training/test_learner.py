import pytest

from alexkit.model.network.wiring import wiring
from alexkit.model.runs.recipe import load_recipe
from alexkit.model.training.learner import paces
from alexkit.model.training.optimizer import Pace


def found_paces(name: str, *overrides: str) -> dict[str, Pace]:
    recipe = load_recipe(name, overrides)
    return paces(recipe, wiring(recipe.network))


@pytest.mark.parametrize(("name", "bias_rate"), [("paper", 1.0), ("original", 2.0)])
def test_weights_decay_and_biases_do_not(name: str, bias_rate: float) -> None:
    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    weights = {f"{layer}.weight": Pace(rate=1.0, decay=0.0005) for layer in layers}
    biases = {f"{layer}.bias": Pace(rate=bias_rate, decay=0.0) for layer in layers}
    assert found_paces(name) == weights | biases


def test_biases_decay_when_they_are_told_to() -> None:
    assert {pace.decay for pace in found_paces("paper", "training.decay_biases=true").values()} == {0.0005}


def test_rows_that_name_a_decay_have_their_own() -> None:
    decays = {name: pace.decay for name, pace in found_paces("cifar10-19").items() if name.endswith(".weight")}
    assert decays == {"conv1.weight": 0.004, "conv2.weight": 0.004, "conv3.weight": 0.004, "fc10.weight": 3.0}
