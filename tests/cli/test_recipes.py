import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from alexkit.cli.alextrain import alextrain
from alexkit.model.runs.load import built_in_recipes, load_about, load_recipe


def call(*words: object) -> Result:
    return CliRunner().invoke(alextrain, [str(word) for word in words])


def test_every_recipe_is_listed_with_its_claims_and_its_cost() -> None:
    result = call("recipes", "--rate", 1000)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.output.splitlines()}
    assert set(built_in_recipes()) <= rows.keys()
    assert re.search(r"t1 +T1 +92 +116\.0 M +32\.2  The paper's network on ILSVRC 2010", rows["t1"])


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
        assert row["epochs"] == recipe.training.epochs and row["images"] == (about.train_images * row["epochs"] or None)
        assert (row["title"], tuple(row["claims"])) == (about.title, about.claims)


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
