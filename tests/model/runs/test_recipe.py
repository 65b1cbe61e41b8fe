import json
import re
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from alexkit.errors import InputError
from alexkit.model.network.tables import wiring
from alexkit.model.network.wiring import sizes
from alexkit.model.runs.load import built_in_recipes, load_about, load_recipe, load_start
from alexkit.model.runs.recipe import Recipe, RecipeChange, Training
from alexkit.model.training.groups import group_settings


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
        ("training.epochs=many", r"training.epochs must be a whole number, got 'many'"),
        ("training.epochs=2.5", r"training.epochs must be a whole number, got 2.5"),
        ("training.epochs=true", r"training.epochs must be a whole number, got True"),
        ("training.epochs=0", r"training.epochs must be at least 1, got 0"),
        ("training.batch_size=10", r"^$"),
        ("network.norm=batch", r"network.norm must be one of paper, original, caffe, none, got 'batch'"),
        ("network.without=fc6", r"network.without must be a list"),
        ("training", r"expected section.key=value"),
        ("training.changes=[{jitter='off'}]", r"training.changes.epoch is missing; it has no default"),
        ("training.changes=[{epoch=0}]", r"training.changes.epoch must be at least 1, got 0"),
        ("training.changes=[{epoch=5}, {epoch=5}]", r"epochs must increase"),
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
        ("training.param_groups=[{match=['*'], rates=[[1, 1]]}]", r"rates: epochs must increase and start at 0"),
        ("data=3", r"data must be a table of keys, got 3"),
        (
            "data.mean=centr",
            r"data.mean must be one of center, crop, channel, imagenet, none or a number or a list .*, got 'centr'",
        ),
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
        ("data.mean=nan", r"data.mean must be .* or a finite number or a list such as .*, got nan"),
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
    with pytest.raises(ValueError, match=r"no recipe 'papper'; did you mean paper\? 'alextrain recipes' lists all"):
        load_recipe("papper")


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("epochs 3")
    with pytest.raises(ValueError, match=r"mine.toml: not TOML"):
        load_recipe(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("text", "words"), [("{", "not JSON"), ("[]", "contains no recipe"), ('{"recipe": {"x": 1}}', "unknown key x")]
)
def test_a_json_file_that_is_no_run_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"config.json: {words}"):
        load_recipe(str(tmp_path / "config.json"))


def test_the_configuration_of_a_run_that_was_changed_is_its_last_recipe_and_trains_it_again(tmp_path: Path) -> None:
    config = str(tmp_path / "config.json")

    def write(history: object) -> None:
        Path(config).write_text(json.dumps({"recipe": load_recipe("cifar10-19").to_json(), "history": history}))

    write([{"step": 8, "set": {"training.rate": 0.5}}, {"step": 9, "set": {"training.epochs": 7}}])
    assert load_recipe(config) == load_recipe("cifar10-19", ["training.rate=0.5", "training.epochs=7"])
    faster, longer = (
        RecipeChange(step=8, set={"training.rate": 0.5}),
        RecipeChange(step=9, set={"training.epochs": 7}),
    )
    assert load_start(config) == (load_recipe("cifar10-19"), (faster, longer))
    # What is typed holds throughout.
    assert load_start(config, ["training.epochs=3"]) == (load_recipe("cifar10-19", ["training.epochs=3"]), (faster,))
    for history in (3, [{"step": 8}], [{"step": 8, "set": {"training.speed": 1}}], [{"step": "x", "set": {}}]):
        write(history)
        for load in (load_recipe, load_start):
            with pytest.raises(ValueError, match=r"config.json: damaged field \(history"):
                load(config)


def test_the_configuration_of_a_run_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its recipe and its changes are of one moment, whoever replaces the file."""
    config, read, texts = tmp_path / "config.json", Path.read_text, []
    config.write_text(json.dumps({"recipe": load_recipe("cifar10-19").to_json(), "history": []}))

    def counted(path: Path, *args: Any, **options: Any) -> str:
        texts.append(path)
        return read(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", counted)
    load_start(str(config))
    assert texts == [config]


def test_a_recipe_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"odd\.toml: not a text file"):
        load_recipe(str(tmp_path / "odd.toml"))


@pytest.mark.parametrize("name", ["../../x", "/x", "a/b", "..", ""])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.toml").write_text(f"name = {name!r}\n")
    with pytest.raises(ValueError, match="expected a plain name, since it becomes the name of the run folder"):
        load_recipe(str(tmp_path / "mine.toml"))


def test_a_recipe_that_names_a_base_has_its_keys_but_its_own_first(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "t1"\n[training]\nrate = 0.02\n[about]\ntitle = "mine"\n')
    mine, base = load_recipe(str(tmp_path / "mine.toml")), load_recipe("t1")
    assert mine.name == "mine" and mine.training.rate == 0.02
    assert mine.schedule == base.schedule and mine.training.param_groups == base.training.param_groups
    assert load_about(str(tmp_path / "mine.toml")).title == "mine"
    (tmp_path / "mine.toml").write_text(f'base = "{tmp_path}/mine.toml"')
    with pytest.raises(ValueError, match="is its own base"):
        load_recipe(str(tmp_path / "mine.toml"))


def test_the_spelling_of_older_recipes_is_read() -> None:
    assert load_recipe("paper", ["data.mean=centre"]).data.mean == "center"


def test_a_mean_may_be_three_gray_levels() -> None:
    recipe = load_recipe("paper", ["data.mean=[123.5, 116, 103]"])
    assert recipe.data.mean == (123.5, 116.0, 103.0)
    assert Recipe.from_json(recipe.to_json()) == recipe
    with pytest.raises(InputError, match=r"data\.mean must be .* or a list of the right length"):
        load_recipe("paper", ["data.mean=[1, 2]"])


def test_a_number_of_400_digits_is_refused() -> None:
    for key in ("training.epochs", "training.batch_size", "training.validate_every", "training.seed", "data.crop"):
        with pytest.raises(InputError, match=rf"{key} must be (at most|less than) \d+, got 9+"):
            load_recipe("paper", [f"{key}={'9' * 400}"])


@pytest.mark.parametrize("name", [name for name in built_in_recipes() if name != "quick"])
def test_every_recipe_says_what_it_needs_what_was_printed_and_where_it_departs(name: str) -> None:
    about = load_about(name)
    assert about.title and about.data and about.train_images and about.printed and about.source and about.departs


def test_there_is_a_recipe_for_every_claim_that_training_can_show() -> None:
    served = {claim for name in built_in_recipes() for claim in load_about(name).claims}
    assert served == {"T1", "T2a", "T2b", "T2c", "T2d", "T3", "F1", "F3", "F4", *(f"B{i}" for i in range(1, 9))}


LONG_CIFAR = ["cifar10-11", "cifar10-13", "cifar10-14", "cifar10-18", "cifar10-19-140"]


@pytest.mark.parametrize("name", LONG_CIFAR)
def test_drops_of_the_cifar_nets_lower_the_weights_rate_alone(name: str) -> None:
    recipe = load_recipe(name)
    settings = group_settings(recipe, wiring(recipe.network))
    last = recipe.training.epochs - 1
    factor = recipe.schedule.factor(epoch=last, epochs=last + 1, drops=0)
    assert settings["conv1.weight"].lr(0.001 * factor, last) == pytest.approx(1e-5)
    assert settings["conv1.bias"].lr(0.001 * factor, last) == 0.002
    assert recipe.data.validate_on == "test"


def rates(name: str, parameter: str, *epochs: float) -> list[float]:
    """What a parameter learns by after so many finished epochs."""
    recipe = load_recipe(name)
    settings = group_settings(recipe, wiring(recipe.network))[parameter]
    total = recipe.training.epochs
    run = [recipe.training.rate * recipe.schedule.factor(epoch=epoch, epochs=total, drops=0) for epoch in epochs]
    return [settings.lr(rate, epoch) for rate, epoch in zip(run, epochs, strict=True)]


def finished(epoch: int, file: int, files: int) -> float:
    """Finished epochs where the released log says "EPOCH.FILE": it counts epochs from 1, and batch files in them."""
    return epoch - 1 + file / files


FILES_2009, FILES_2011, FILES_2012 = 8800, 14_200_000 / 1024, 1_281_167 / 1024


def test_the_chain_of_net_146_has_the_rates_that_are_recorded() -> None:
    assert rates("146-2009", "conv5.weight", 0, 5) == [0.001, 0.001]
    drop = finished(2, 1600, FILES_2009)
    assert rates("146-2009", "conv6.weight", 0, drop - 0.01, drop + 0.01) == [0.01, 0.01, 0.001]
    assert rates("146-2011", "fc6.weight", 0, 4.99, 5) == [0.01, 0.01, 0.001]
    assert rates("146-2011", "linear.weight", 0, 5) == [0.01, 0.001]
    assert rates("146-2012-2011", "conv1.weight", 0, 3.99, 4, 6) == [0.0001, 0.0001, 0.00001, 0]
    later = [0.01, 0.01, 0.001, 0.0001, 0.00001]
    assert rates("146-2012-2011", "fc8.weight", 0.23, 300 / FILES_2012 + 0.01, 7.99, 8, 21, 41) == [0.001, *later]
    starts = [load_recipe(name).training for name in ("146-2009", "146-2011", "146-2012-2011")]
    assert [(one.start_from, one.start_layers) for one in starts] == [
        ("original", ("conv[1-5]",)),
        ("146-2009", ("conv*",)),
        ("146-2011", ()),
    ]
    # The whole releases, until the epoch in which the logs end.
    images = [load_about(name).train_images for name in ("146-2009", "146-2011", "t3")]
    assert images == [8_900_000, 14_200_000, 4_450_000]
    ends = [finished(6, 6491, FILES_2009), finished(8, 11295, FILES_2011)]
    assert [ceil(end) for end in ends] == [one.epochs for one in starts[:2]]


def test_the_half_of_2009_has_the_rates_of_the_recorded_run_on_it() -> None:
    logged = [(6, 2600), (13, 3361), (18, 2396), (21, 1949), (25, 3718), (28, 3271), (44, 183)]
    before = [finished(*moment, FILES_2009 / 2) - 0.001 for moment in logged]
    after = [epoch + 0.002 for epoch in before]
    conv1, conv3 = [0.001, 0.0001, 1e-5, 0, 0, 0.001, 0.0001], [0.001, 0.0001, 0.0001, 0.0001, 1e-5, 0.001, 0.0001]
    for layer, expected in (("conv1", conv1), ("conv2", conv1), ("conv3", conv3), ("fc8", conv3)):
        assert rates("t3", f"{layer}.weight", *after) == expected
        assert rates("t3", f"{layer}.weight", *before) == [0.01, *expected[:-1]]
    assert [load_recipe("t3").at(epoch).data.jitter for epoch in (17, 18, 27, 28, 54)] == [
        "original", "off", "off", "original", "original"
    ]  # fmt: skip


# The biases' rates in the released parameter files, which hold the last ones: of most layers, and of some by name.
LAST_BIAS_RATES: dict[str, tuple[float, dict[str, float]]] = {
    "original": (0.02, {"conv1": 0}),
    "t1": (0.002, {"conv1": 0}),
    "b1": (0.02, {"conv1": 0.002, "conv2": 0.002}),
    "b2": (0.02, {"conv1": 0}),
    "b3": (0.002, {"conv1": 0}),
    "t3": (0.002, {}),
    "146-2009": (0.02, {"conv6": 0.002}),
    "146-2011": (0.02, {"conv6": 0.002}),
    "146-2012-2009": (0.02, {"conv1": 0, "conv6": 0.002}),
    "146-2012-2011": (0.02, {"conv1": 0, "conv6": 0.022}),
    "170": (0.002, {}),
}


@pytest.mark.parametrize("name", LAST_BIAS_RATES)
def test_biases_end_at_the_rates_of_the_released_files(name: str) -> None:
    everywhere, own = LAST_BIAS_RATES[name]
    recipe = load_recipe(name)
    for layer in wiring(recipe.network).layers:
        expected = own.get(layer.name, everywhere)
        assert rates(name, f"{layer.name}.bias", recipe.training.epochs - 0.01) == [expected], layer.name


# The weights' rates in the same files: of most layers, and of conv1. Net 170's are its schedule's in the last quarter.
LAST_WEIGHT_RATES: dict[str, tuple[float, float]] = {
    "original": (1e-5, 0),
    "t1": (1e-5, 0),
    "b1": (1e-5, 1e-5),
    "b2": (1e-5, 0),
    "b3": (1e-5, 0),
    "t3": (1e-4, 1e-4),
    "146-2009": (1e-3, 1e-3),
    "146-2011": (1e-3, 1e-3),
    "146-2012-2009": (1e-5, 0),
    "146-2012-2011": (1e-5, 0),
    "170": (0.01 / 250, 0),
}


@pytest.mark.parametrize("name", LAST_WEIGHT_RATES)
def test_weights_end_at_the_rates_of_the_released_files(name: str) -> None:
    everywhere, of_conv1 = LAST_WEIGHT_RATES[name]
    recipe = load_recipe(name)
    for layer in wiring(recipe.network).layers:
        expected = of_conv1 if layer.name == "conv1" else everywhere
        last = rates(name, f"{layer.name}.weight", recipe.training.epochs - 0.01)
        assert last == pytest.approx([expected], rel=1e-3), layer.name


def test_the_one_gpu_network_froze_conv1_before_its_last_drop() -> None:
    moments = [18.9, 19, 47, 65, 71, 77]
    assert rates("b1", "conv1.weight", *moments) == [0.01, 0.001, 0.0001, 1e-5, 0, 1e-5]
    assert rates("b1", "conv2.weight", *moments) == pytest.approx([0.01, 0.001, 0.0001, 0.0001, 0.0001, 1e-5])


def departs(name: str) -> str:
    """How a recipe departs from its source, with what the recipes depart in that it refers to."""
    own = load_about(name).departs
    return " ".join([own, *(departs(other) for other in re.findall(r"as in `([^`]+)`", own))])


@pytest.mark.parametrize("name", [name for name in built_in_recipes() if name not in ("paper", "quick")])
def test_every_recipe_of_a_published_network_admits_what_was_otherwise_in_2012(name: str) -> None:
    recipe = load_recipe(name)
    if recipe.training.precision == "auto":
        assert "float32" in departs(name) and "`training.precision`" in departs(name)
    if recipe.data.order != "fixed" and name != "caffe":
        assert "order was fixed" in departs(name)


def test_the_recipe_of_the_text_admits_where_it_reads_the_text_freely() -> None:
    assert load_recipe("paper").network.norm_scope == "column" and "`network.norm_scope`" in departs("paper")


@pytest.mark.parametrize("without", ["conv1", "conv2", "conv3", "conv4", "conv5"])
def test_the_depth_recipes_tell_how_many_parameters_are_left(without: str) -> None:
    name = f"b8-{without}"
    count = sum(size.weights + size.biases for size in sizes(wiring(load_recipe(name).network), 1000))
    assert f"{count / 1e6:.1f} " in departs(name) and "61.0 million" in departs(name)
    readers = [layer.name for layer in wiring(load_recipe("b8-conv3").network).layers if layer.reads == "both columns"]
    assert readers[0] == "fc6" and "only in fc6" in departs("b8-conv3")


@pytest.mark.parametrize("name", ["cifar10-11", "cifar10-11-folded", "cifar10-13", "cifar10-14"])
def test_networks_trained_on_crops_tell_which_evaluation_was_printed(name: str) -> None:
    assert load_recipe(name).data.crop == 24 and "--split test --views nine" in load_about(name).printed


def test_net_170_was_changed_by_hand_twice() -> None:
    assert [load_recipe("170").at(epoch).data.jitter for epoch in (66, 67)] == ["original", "off"]
    moments = [23.7, 23.8, 47.6, 71.3, 72.99]
    assert rates("170", "conv1.weight", *moments) == pytest.approx(rates("170", "conv2.weight", *moments), rel=1e-5)
    assert rates("170", "conv1.weight", 73) == [0]
