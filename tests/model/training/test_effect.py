"""Keys that change nothing are refused where a person typed them."""

from pathlib import Path

import pytest

from alexkit.model.runs.load import built_in_recipes, load_base, load_recipe
from alexkit.model.training.effect import refuse_idle_keys

ALL_DECAY = "training.param_groups=[{match=['*'],weight_decay=0.1}]"


@pytest.mark.parametrize("name", built_in_recipes())
def test_every_key_of_a_built_in_recipe_has_an_effect(name: str) -> None:
    refuse_idle_keys(load_base(name), load_recipe(name), where=name)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "paper",
            ["schedule.at_epochs=[3]"],
            "--set: schedule.at_epochs has no effect here: schedule.kind is 'pla",
        ),
        ("original", ["schedule.patience=3"], "schedule.kind is 'steps', but only 'plateau' uses it"),
        (
            "quick",
            ["schedule.divide_by=2"],
            "schedule.kind is 'linear', but only 'plateau' and 'steps'",
        ),
        ("paper", ["training.start_layers=['conv1']"], "training.start_from, which is empty"),
        ("original", ["training.bias_rate=3"], "training.bias_rate has no effect here: training.param_groups"),
        ("paper", ["network.norm=none", "network.map_norm=true"], "network.map_norm has no effect here: the network"),
        ("b1", ["network.norm_scope=all"], "network.norm_scope has no effect here"),
        ("paper", ["data.validate_on=none", "training.validate_every=3"], "data.validate_on is 'none'"),
        ("146-2012-2011", ["training.rate=5.0"], "training.rate has no effect here: training.param_groups"),
        ("146-2009", ["schedule.kind=cosine"], "schedule.kind has no effect here: training.param_groups sets the rate"),
        ("t2c", ["schedule.warmup_epochs=3"], "schedule.warmup_epochs has no effect here"),
        (
            "paper",
            [ALL_DECAY, "training.weight_decay=0.3"],
            "weight_decay",
        ),
        (
            "cifar10-19",
            [ALL_DECAY, "training.weight_decay=0"],
            "weight_decay",
        ),
    ],
)
def test_an_idle_key_is_named_with_its_reason(name: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refuse_idle_keys(load_recipe(name), load_recipe(name, overrides), where="--set")


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("original", ["schedule.kind=constant"]),  # its own at_epochs become idle: nobody typed them
        ("original", ["network.norm=none"]),  # so does its map_norm
        ("original", ["training.rates.conv1=0"]),
        ("original", ["training.weight_decay=0.0005", "training.epochs=90"]),  # what it does already
        ("cifar10-19", ["training.weight_decay=0"]),
        ("quick", ["schedule.kind=steps", "schedule.at_epochs=[1]", "schedule.divide_by=2"]),
    ],
)
def test_keys_with_an_effect_pass(name: str, overrides: list[str]) -> None:
    refuse_idle_keys(load_recipe(name), load_recipe(name, overrides), where="--set")


def test_a_file_is_held_to_its_base(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("base = 'original'\n[schedule]\nkind = 'linear'\npatience = 9\n")
    mine = str(tmp_path / "mine.toml")
    with pytest.raises(ValueError, match=r"mine.toml: schedule.patience has no effect here"):
        refuse_idle_keys(load_base(mine), load_recipe(mine), where=mine)
