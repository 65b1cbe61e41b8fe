import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from alexkit.cli.alextrain import alextrain
from alexkit.cli.train.cost import CORE_IMAGES_PER_S
from alexkit.model.runs.load import built_in_recipes, load_about, load_recipe
from alexkit.model.runs.recipe import Change, ParamGroup
from alexkit.model.runs.recipe_files import OTHER_NAMES


def call(*words: object) -> Result:
    return CliRunner().invoke(alextrain, [str(word) for word in words])


def test_every_recipe_is_listed_with_its_claims_and_its_cost() -> None:
    result = call("recipes", "--rate", 1000)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.output.splitlines()}
    assert set(built_in_recipes()) <= rows.keys()
    assert re.search(r"t1 +T1 +92 +1 +116\.0 M +32\.2 +32\.2  The paper's network on ILSVRC 2010", rows["t1"])
    assert rows["145-2010"].endswith("another name of t1") and set(OTHER_NAMES) <= rows.keys()


def test_the_page_about_imagenet_holds_the_hours_that_the_command_prints() -> None:
    page = (Path(__file__).parents[2] / "docs/tutorials/imagenet.md").read_text()
    (block,) = re.findall(r"^\$ alextrain recipes --rate 1000\n(.*?)^```", page, re.M | re.S)
    assert set(block.splitlines()) <= set(call("recipes", "--rate", 1000).output.splitlines())
    assert len(block.splitlines()) == 5


def test_a_recipe_is_shown_with_what_it_reproduces_and_every_key() -> None:
    result = call("recipes", "show", "t1")
    assert result.exit_code == 0, result.output
    assert "printed: 37.5 / 17.0 % on the test set" in result.output
    assert '* norm = "original"' in result.output and '  pooling = "3/2"' in result.output
    assert "at_epochs = [22, 50, 77]" in result.output and "`3/2` overlaps, as in the paper" in result.output


def test_recipes_are_given_as_json(tmp_path: Path) -> None:
    rows = {row["recipe"]: row for row in json.loads(call("recipes", "--rate", 1000, "--json").stdout)}
    assert rows.keys() == set(built_in_recipes())
    assert rows["t1"]["epochs"] == 92 and rows["quick"]["images"] is None
    assert rows["t1"]["hours"] == pytest.approx(rows["t1"]["images"] / 1000 / 3600)
    shown = json.loads(call("recipes", "show", "t1", "--json").stdout)
    assert shown["about"]["claims"] == ["T1"]
    (tmp_path / "config.json").write_text(json.dumps(shown))
    assert load_recipe(str(tmp_path / "config.json")) == load_recipe("t1")


def test_the_list_says_what_the_checked_recipes_say() -> None:
    for row in json.loads(call("recipes", "--json").stdout):
        about, recipe = load_about(row["recipe"]), load_recipe(row["recipe"])
        images = about.train_images * about.networks * row["epochs"]
        assert row["epochs"] == recipe.training.epochs and row["images"] == (images or None)
        assert (row["title"], tuple(row["claims"])) == (about.title, about.claims)


def test_the_cost_of_a_claim_is_that_of_all_its_networks_and_of_the_runs_they_start_from() -> None:
    rows = {row["recipe"]: row for row in json.loads(call("recipes", "--rate", 1000, "--json").stdout)}
    chain = ["original", "146-2009", "146-2011"]
    assert [rows[name]["networks"] for name in ("t2a", "t2b", "t2c", "t2d")] == [1, 5, 1, 2]
    assert [rows[name]["needs"] for name in ("t2b", "t2c", "t2d")] == [[], chain, [*chain, "t2b"]]
    assert rows["t2b"]["hours"] == pytest.approx(5 * rows["t2a"]["hours"])
    assert rows["t2c"]["hours_in_all"] == pytest.approx(sum(rows[name]["hours"] for name in [*chain, "t2c"]))
    assert rows["t2d"]["images_in_all"] == sum(rows[name]["images"] for name in [*chain, "t2b", "t2d"])


def test_the_hours_of_small_networks_are_those_of_a_rate_measured_on_small_networks() -> None:
    row = next(row for row in json.loads(call("recipes", "--json").stdout) if row["recipe"] == "cifar10-19")
    assert row["title"].endswith("in a quarter of an hour") and row["hours"] == pytest.approx(0.25, abs=0.07)
    assert "1.0 M images, 0.2 hours at 1,460 images/s, measured on one CPU core" in words("recipes", "show", "f1-relu")
    assert "1.0 M images, 0.1 hours at 5,000 images/s" in words("recipes", "show", "f1-relu", "--rate", 5000)
    kinds = {load_recipe(name).network.kind for name in built_in_recipes()}
    assert {kind for kind in kinds if kind.startswith("cifar10")} == CORE_IMAGES_PER_S.keys()


def words(*line: object) -> str:
    """What the command prints, unwrapped."""
    result = call(*line)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_a_recipe_is_shown_with_its_cost_and_that_of_what_it_needs(tmp_path: Path) -> None:
    shown = words("recipes", "show", "t2d", "--rate", 1000)
    assert "cost: 2 networks, 53 epochs of 1,281,167 images each: 135.8 M images, 37.7 hours at 1,000" in shown
    assert "needs 146-2011: 113.6 M images, 31.6 hours" in shown and "needs t2b: 576.5 M images, 160.1 hours" in shown
    assert "in all 994.6 M images, 276.3 hours" in shown
    assert "32.0 hours" not in words("recipes", "show", "t1", "--rate", 1000)
    (tmp_path / "mine.toml").write_text("[schedule]\nkind = 'cosine'\n")
    assert "cost: 90 epochs of your images" in words("recipes", "show", tmp_path / "mine.toml")
    (tmp_path / "next.toml").write_text("[training]\nstart_from = '146-2009'\n[about]\ntrain_images = 1_000_000\n")
    assert "needs original: 115.3 M images" in words("recipes", "show", tmp_path / "next.toml")


@pytest.mark.parametrize(("other", "name"), OTHER_NAMES.items())
def test_a_network_of_the_released_code_is_named_by_its_number_too(other: str, name: str, tmp_path: Path) -> None:
    assert load_recipe(other) == load_recipe(name) and load_about(other) == load_about(name)
    assert f"recipe: {name}, also called {other}" in call("recipes", "show", other).output
    (tmp_path / "mine.toml").write_text(f"base = '{other}'\n")
    assert load_recipe(str(tmp_path / "mine.toml")).network == load_recipe(name).network


def test_the_keys_inside_lists_are_explained() -> None:
    shown = words("recipes", "show", "paper")
    for inner in (ParamGroup, Change):
        for item in fields(inner):
            assert f"- {item.name}: " in shown
    assert "- match: Names of parameters, LAYER.weight or LAYER.bias" in shown
    assert "- fold_in: A split that is added to the training set from then on" in shown


def test_an_unknown_recipe_is_refused_with_those_that_are_there() -> None:
    result = call("recipes", "show", "t9")
    assert result.exit_code == 1 and "no recipe 't9'; did you mean t3, t1" in result.output


@pytest.fixture(scope="module")
def shards(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    (folder / "train").symlink_to(draw_shards(num_samples=48, size_px=32))
    (folder / "val").symlink_to(draw_shards(num_samples=20, size_px=32, split="val"))
    return folder


SMALL = ["--recipe", "cifar10-19", "--set", "training.batch_size=16", "--set", "training.epochs=1"]


@pytest.mark.parametrize("split", ["val", "test", ""])
def test_several_seeds_are_trained_and_evaluated_together_by_one_command(
    shards: Path, tmp_path: Path, split: str
) -> None:
    (tmp_path / "train").symlink_to(shards / "train")
    if split:  # which the recipe validates on, and the evaluation takes
        (tmp_path / split).symlink_to(shards / "val")
    words = ["--shards", tmp_path, "--runs", tmp_path / "runs", *SMALL, "--set", "training.seed=7", "--seeds", 2]
    if split == "test":
        result = call(*words, "--json", "-q")
        assert result.exit_code == 0 and "evaluate" not in result.stderr, result.output
        one, other, both = map(json.loads, result.stdout.splitlines())
        assert one["run"].endswith("-seed7") and other["run"].endswith("-seed8") and len(both["rows"]) == 3
        return
    result = call(*words)
    assert result.exit_code == 0, result.output
    for seed in (7, 8):
        assert (tmp_path / f"runs/cifar10-19-seed{seed}/result.json").exists()
    assert ("all together" in result.output) == bool(split)


def test_a_run_is_changed_by_command(shards: Path, tmp_path: Path) -> None:
    train = ["--shards", shards, "--runs", tmp_path, "--name", "one"]
    assert call(*train, *SMALL).exit_code == 0
    changed = call(*train, "--set", "training.epochs=2", "--set", "training.rate=0.001", "--change")
    assert changed.exit_code == 0 and "20 images after 2 epochs" in changed.output, changed.output
    refused = call(*train, "--set", "training.batch_size=8", "--change")
    assert refused.exit_code == 1 and "training.batch_size cannot be changed during a run" in refused.output


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--change"], "--change needs --set KEY=VALUE"),
        (["--change", "--set", "training.rate=1"], "--change needs the --name of the run to change"),
        (["--change", "--set", "training.rate=1", "--restart"], "and excludes --restart"),
        (["--seeds", "2", "--columns", "2"], "--seeds trains in one process"),
        (["--seeds", "2", "--restart"], "--restart deletes one run"),
        (["--seeds", "2", "--dry-run"], "--dry-run and --bench-data train nothing"),
        (["--restart", "--bench-data"], "--dry-run and --bench-data train nothing"),
        (["--change", "--name", "none", "--set", "training.rate=1"], "no such file or folder; name a folder"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    shards: Path, tmp_path: Path, words: list[str], expected: str
) -> None:
    result = call("--shards", shards, "--runs", tmp_path / "runs", *words)
    assert result.exit_code in (1, 2) and expected in result.output, result.output
    assert not (tmp_path / "runs").exists()
