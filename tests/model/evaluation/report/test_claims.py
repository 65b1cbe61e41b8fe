"""The table of claims is what 'alexeval claims' prints."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexkit.cli.alexeval import alexeval
from alexkit.model.evaluation.report.claims import CLAIMS, claims_table
from alexkit.model.runs.load import built_in_recipes, load_about, load_recipe
from alexkit.model.runs.run import Run
from alexkit.prep import ShardSet

ROOT = Path(__file__).parents[4]


def finished(
    folder: Path, shard_set: ShardSet, recipe: str, *, error: float, training_errors: list[float], seed: int = 0
) -> Path:
    """A run folder as training leaves it, with ten steps an epoch and these errors."""
    epochs = len(training_errors)
    run = Run.start_or_resume(folder, load_recipe(recipe, [f"training.seed={seed}"]), shard_set)
    lines = [
        {"kind": "train", "step": 10 * epoch + step, "loss": 1.0, "top1_error": own, "rate": 0.1, "images_per_s": 128.0}
        for epoch, own in enumerate(training_errors)
        for step in (5, 10)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = {"loss": 1.0, "top1_error": error, "best_top1_error": error}
    run.finish({"epochs": epochs, "steps": 10 * epochs, "images": 10_000, **scores})
    return folder


@pytest.fixture
def shard_set(draw_shards: Callable[..., Path]) -> ShardSet:
    return ShardSet.open(draw_shards(num_samples=12, num_classes=3, size_px=32))


def row(table: str, id: str) -> str:
    (found,) = [line for line in table.splitlines() if line.startswith(f"| {id} |")]
    return found


def test_the_page_holds_what_the_command_prints() -> None:
    printed = CliRunner().invoke(alexeval, ["claims"])
    assert printed.exit_code == 0
    assert (ROOT / "docs/claims/table.inc").read_text() == printed.output


def test_every_claim_that_needs_training_has_a_recipe() -> None:
    served = {claim for name in built_in_recipes() for claim in load_about(name).claims}
    assert served == {claim.id for claim in CLAIMS if claim.needs != "nothing"}


def test_runs_of_several_seeds_are_one_number_with_the_interval_between_them(
    shard_set: ShardSet, tmp_path: Path
) -> None:
    errors = (0.12, 0.13, 0.14)
    folders = [
        finished(tmp_path / f"n13-seed{i}", shard_set, "cifar10-13", error=error, training_errors=[0.5], seed=i)
        for i, error in enumerate(errors)
    ]
    found = row(claims_table(folders), "B2")
    # 1.96 * 0.01 / sqrt(3); 30 steps of 128 images at 128 images/s are 30 s.
    assert "n13 13.00% ± 1.13% (3 seeds, 0.0 h)" in found and "shown on 10,000 images" in found


def test_one_run_has_the_interval_of_its_images(shard_set: ShardSet, tmp_path: Path) -> None:
    folder = finished(tmp_path / "one", shard_set, "cifar10-11", error=0.11, training_errors=[0.5])
    assert "one 11.00% ± 0.61% (1 seed" in row(claims_table([folder]), "B2")


def test_figure_1_is_the_ratio_of_epochs_to_25_percent_training_error(shard_set: ShardSet, tmp_path: Path) -> None:
    relu = finished(tmp_path / "relu", shard_set, "f1-relu", error=0.3, training_errors=[0.5, 0.24, 0.2])
    tanh = finished(tmp_path / "tanh", shard_set, "f1-tanh", error=0.3, training_errors=[*[0.4] * 7, 0.25])
    assert "25 % after 2.0 and 8.0 epochs: 4.0 times" in row(claims_table([relu, tanh]), "F1")
    assert "times" not in row(claims_table([relu]), "F1").replace("6 times", "")


def test_an_unfinished_run_is_refused(shard_set: ShardSet, tmp_path: Path) -> None:
    Run.start_or_resume(tmp_path / "run", load_recipe("f1-relu"), shard_set)
    with pytest.raises(ValueError, match="run: no finished run with a validation; train it to its end first"):
        claims_table([tmp_path / "run"])
