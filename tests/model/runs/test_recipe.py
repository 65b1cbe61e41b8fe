import json
from pathlib import Path

import pytest

from alexkit.model.network.tables import wiring
from alexkit.model.runs.load import built_in_recipes, load_recipe
from alexkit.model.runs.recipe import Recipe, Training


@pytest.mark.parametrize("name", built_in_recipes())
def test_every_recipe_in_the_package_loads_fits_its_network_and_survives_json(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert wiring(recipe.network).input_px == recipe.data.crop
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_the_recipe_named_paper_is_the_defaults() -> None:
    paper = load_recipe("paper")
    assert paper == Recipe(training=Training(weight_decay=0.0005))
    assert {layer.decay for layer in wiring(Recipe().network).layers} == {0.0005}
    assert (paper.training.batch_size, paper.training.epochs, paper.training.rate) == (128, 90, 0.01)
    assert paper.training.momentum == 0.9


def test_the_recipe_named_original_is_net_145() -> None:
    recipe = load_recipe("original")
    # Its log counts epochs from 1: the drops at 25, 51 and 79 and the stop at 91 come after one epoch less.
    assert recipe.schedule.at_epochs == (24, 50, 78) and recipe.training.epochs == 90
    assert (recipe.data.jitter, recipe.data.crop_draw) == ("original", "group32")
    assert recipe.network.norm == recipe.network.norm_order == recipe.network.init == "original"
    assert [recipe.at(epoch).data.jitter for epoch in (0, 65, 66, 89)] == ["original", "original", "off", "off"]


def test_changes_leave_alone_what_they_do_not_name() -> None:
    recipe = load_recipe("paper", ["training.changes=[{epoch=2}, {epoch=4, jitter='off'}]"])
    assert recipe.at(1) == recipe.at(3) == recipe
    assert recipe.at(9).data.jitter == "off" and recipe.at(9).training == recipe.training


def test_overrides_change_one_key_each() -> None:
    changed = load_recipe(
        "paper",
        ["training.epochs=5", "training.rate=1e-3", "data.mean=channel", "network.without=['fc6']", "data.flip=false"],
    )
    assert changed.training.epochs == 5 and changed.training.rate == 1e-3
    assert changed.data.mean == "channel" and changed.data.flip is False
    assert changed.network.without == ("fc6",)


def test_a_file_of_ones_own_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[training]\nepochs = 3\n[schedule]\nkind = 'cosine'\n")
    recipe = load_recipe(str(tmp_path / "mine.toml"))
    assert (recipe.name, recipe.training.epochs, recipe.schedule.kind) == ("mine", 3, "cosine")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epoch=5", r"unknown key training.epoch; the nearest is training.epochs"),
        ("epochs=5", r"unknown key epochs; the nearest is training.epochs"),
        ("data.epochs=5", r"unknown key data.epochs; the nearest is training.epochs"),
        ("trainning.epochs=5", r"unknown key trainning; the nearest is training"),
        ("training.epochs=many", r"training.epochs must be int, got 'many'"),
        ("training.epochs=2.5", r"training.epochs must be int, got 2.5"),
        ("training.epochs=true", r"training.epochs must be int, got True"),
        ("training.epochs=0", r"training.epochs must be at least 1, got 0"),
        ("training.batch_size=10", r"^$"),
        ("network.norm=batch", r"network.norm must be one of paper, original, caffe, none, got 'batch'"),
        ("network.without=fc6", r"network.without must be a list"),
        ("training", r"expected section.key=value"),
        ("training.changes=[{jitter='off'}]", r"training.changes.epoch is missing; it has no default"),
        ("training.changes=[{epoch=0}]", r"training.changes.epoch must be at least 1, got 0"),
        ("training.changes=[{epoch=5}, {epoch=5}]", r"epochs must rise"),
        (
            "training.changes=[{epoch=5, jiter='off'}]",
            r"unknown key training.changes.jiter; the nearest .*changes.jitter",
        ),
        ("training.changes=[{epoch=5, jitter='none'}]", r"training.changes.jitter must be one of paper, original, off"),
        ("training.param_groups=[{rates=[[0, 1]]}]", r"training.param_groups.match is missing"),
        (
            "training.param_groups=[{match=['*'], rates=[[0, -1]]}]",
            r"training.param_groups.rates must be at least 0, got -1",
        ),
        ("training.param_groups=[{match=['*'], rates=[[1, 1]]}]", r"rates: their epochs must rise and begin at 0"),
        ("data=3", r"data must be a table of keys, got 3"),
        ("data.mean=centr", r"data.mean must be one of center, crop, channel, none or float or a list, got 'centr'"),
        ("training.rates.conv1=-0.5", r"training.rates.conv1 must be at least 0, got -0.5"),
        ("training.rates.conv1=inf", r"training.rates.conv1 must be a finite number, got inf"),
        ("training.rate=inf", r"training.rate must be a finite number, got inf"),
        ("training.rate=0", r"training.rate must be more than 0, got 0"),
        ("training.momentum=1", r"training.momentum must be less than 1, got 1"),
        ("training.momentum=-0.1", r"training.momentum must be at least 0, got -0.1"),
        ("training.weight_decay=nan", r"training.weight_decay must be a finite number, got nan"),
        ("training.weight_decay=-1", r"training.weight_decay must be at least 0, got -1"),
        ("training.bias_rate=-2", r"training.bias_rate must be at least 0, got -2"),
        ("training.checkpoint_minutes=nan", r"training.checkpoint_minutes must be a finite number, got nan"),
        ("training.seed=-1", r"training.seed must be at least 0, got -1"),
        ("schedule.warmup_epochs=-1", r"schedule.warmup_epochs must be at least 0, got -1"),
        ("data.mean=nan", r"data.mean must be .* or a finite number or a list, got nan"),
        ("training.accumulate=3", r"batch_size 128 is not a multiple of accumulate 3"),
    ],
)
def test_wrong_overrides_are_refused_in_words(override: str, words: str) -> None:
    if words == "^$":
        assert load_recipe("paper", [override]).training.batch_size == 10
        return
    with pytest.raises(ValueError, match=words):
        load_recipe("paper", [override])


def test_a_recipe_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"no recipe 'papper'; choose one of .*original, paper, quick"):
        load_recipe("papper")


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("epochs 3")
    with pytest.raises(ValueError, match=r"mine.toml: not TOML"):
        load_recipe(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("text", "words"), [("{", "not JSON"), ("[]", "holds no recipe"), ('{"recipe": {"x": 1}}', "unknown key x")]
)
def test_a_json_file_that_is_no_run_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"config.json: {words}"):
        load_recipe(str(tmp_path / "config.json"))


def test_a_recipe_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"odd\.toml: not a text file"):
        load_recipe(str(tmp_path / "odd.toml"))
