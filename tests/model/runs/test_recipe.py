import json
from pathlib import Path

import pytest

from alexkit.model.network.wiring import wiring
from alexkit.model.runs.recipe import Recipe, built_in_recipes, load_recipe


@pytest.mark.parametrize("name", built_in_recipes())
def test_every_recipe_in_the_package_loads_fits_its_network_and_survives_json(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert wiring(recipe.network).input_px == recipe.data.crop
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_the_recipe_named_paper_is_the_defaults() -> None:
    assert load_recipe("paper") == Recipe()
    training = Recipe().training
    assert (training.batch_size, training.epochs, training.rate) == (128, 90, 0.01)
    assert (training.momentum, training.weight_decay) == (0.9, 0.0005)


def test_the_recipe_named_original_is_net_145() -> None:
    recipe = load_recipe("original")
    assert recipe.schedule.at_epochs == (25, 51, 79) and recipe.training.epochs == 91
    assert (recipe.training.bias_rate, recipe.data.jitter, recipe.data.crop_draw) == (2.0, "original", "group32")
    assert recipe.network.norm == recipe.network.norm_order == recipe.network.init == "original"


def test_the_hand_on_net_145_comes_in_its_epochs() -> None:
    recipe = load_recipe("original")
    biases = {epoch: recipe.at(epoch).training.bias_rate for epoch in (0, 24, 25, 50, 51, 78, 79, 90)}
    steps = {epoch: recipe.schedule.factor(epoch=epoch, epochs=91, drops=0) for epoch in biases}
    assert [biases[epoch] * steps[epoch] for epoch in biases] == pytest.approx([2.0] * len(biases))
    assert [recipe.at(epoch).training.rates.get("conv1", 1.0) for epoch in (0, 66, 67, 71, 72, 90)] == [
        *(1.0, 1.0, 0.1, 0.1, 0.0, 0.0)
    ]
    assert [recipe.at(epoch).data.jitter for epoch in (0, 66, 67, 90)] == ["original", "original", "off", "off"]


def test_changes_add_up_and_leave_alone_what_they_do_not_name() -> None:
    changes = "[{epoch=2, rates={conv1=0.5}, bias_rate=3}, {epoch=4, rates={conv2=0}, jitter='off'}]"
    recipe = load_recipe("paper", ["training.rates.conv1=0.9", f"training.changes={changes}"])
    assert recipe.at(1) == recipe
    assert recipe.at(2).training.rates == {"conv1": 0.5} and recipe.at(2).data.jitter == "paper"
    last = recipe.at(9)
    assert last.training.rates == {"conv1": 0.5, "conv2": 0.0} and last.training.bias_rate == 3.0
    assert (last.data.jitter, last.training.rate, last.network) == ("off", 0.01, recipe.network)


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
        ("training.changes=[{rates={conv1=0}}]", r"training.changes.epoch is missing"),
        ("training.changes=[{epoch=0}]", r"epochs must rise and begin at 1 or later, got \[0\]"),
        ("training.changes=[{epoch=5}, {epoch=5}]", r"epochs must rise"),
        (
            "training.changes=[{epoch=5, jiter='off'}]",
            r"unknown key training.changes.jiter; the nearest .*changes.jitter",
        ),
        ("training.changes=[{epoch=5, jitter='none'}]", r"training.changes.jitter must be one of paper, original, off"),
        ("training.changes=[{epoch=5, bias_rate='x'}]", r"training.changes.bias_rate must be float, got 'x'"),
        ("training.changes=[{epoch=5, rates={conv1=-1}}]", r"training.changes.rates.conv1 must be at least 0, got -1"),
        ("training.changes=[{epoch=5, bias_rate=nan}]", r"training.changes.bias_rate must be a finite number, got nan"),
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
        ("data.mean=nan", r"data.mean must be a finite number, got nan"),
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
