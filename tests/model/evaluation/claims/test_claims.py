"""The table of claims is what 'alexeval claims' prints."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from alexkit.cli.alexeval import alexeval
from alexkit.errors import InputError
from alexkit.model.evaluation.claims import CLAIMS, alike, claims_table, draw_errors
from alexkit.model.evaluation.claims.run_records import RunRecord, read_record
from alexkit.model.runs.load import built_in_recipes, load_about, load_recipe
from alexkit.model.runs.run import Run
from alexkit.prep import ShardSet

from .record_kit import finished, row

ROOT = Path(__file__).parents[4]


def test_the_page_holds_what_the_command_prints_of_the_stored_records() -> None:
    stored = sorted((ROOT / "docs/claims/results").glob("*.json"))
    printed = CliRunner().invoke(alexeval, ["claims", *map(str, stored)])
    assert printed.exit_code == 0
    assert (ROOT / "docs/claims/table.inc").read_text() == printed.output


def test_every_claim_that_needs_training_has_a_recipe() -> None:
    served = {claim for name in built_in_recipes() for claim in load_about(name).claims}
    assert served == {claim.id for claim in CLAIMS if claim.needs != "nothing"}


@pytest.mark.parametrize(
    ("without", "status"),
    [((0.16, 0.17, 0.18), "shown"), ((0.13, 0.13, 0.14), "not decided"), ((0.08, 0.09, 0.10), "contradicted")],
)
def test_an_effect_is_shown_only_where_its_interval_leaves_out_zero(
    shard_set: ShardSet, tmp_path: Path, without: tuple[float, ...], status: str
) -> None:
    records = []
    for net, errors in (("11", (0.12, 0.13, 0.14)), ("13", without)):
        for seed, error in enumerate(errors):
            folder, name = tmp_path / f"n{net}-seed{seed}", f"cifar10-{net}"
            records.append(finished(folder, shard_set, name, error=error, training_errors=[0.5] * 3, seed=seed))
    cells = row(claims_table(records), "B2")
    assert cells[4:] == ["3 classes", "3, 3", "0.5", f"{status} on 3 classes"]
    # 6 runs of 30 steps of 128 images are 1800 s.
    if status == "shown":  # both sides: Student's 4.303 * 0.01 / sqrt(3) = 2.48 points; together sqrt(2) of it
        assert cells[3] == "11 % less 13 % network: -4.00 ± 3.51 points of error, one view, 13.00 against 17.00 %"


def test_one_seed_has_the_interval_of_its_images(shard_set: ShardSet, tmp_path: Path) -> None:
    records = [
        finished(tmp_path / net, shard_set, f"cifar10-{net}", error=error, training_errors=[0.5])
        for net, error in (("11", 0.11), ("13", 0.13))
    ]
    # 1.96 * sqrt(0.11 * 0.89 / 10000) and the like, in the root of their squares.
    assert "-2.00 ± 0.90 points of error, one view, 11.00 against 13.00 %" in row(claims_table(records), "B2")[3]


def test_runs_of_other_lengths_are_not_compared(shard_set: ShardSet, tmp_path: Path) -> None:
    short = finished(tmp_path / "11", shard_set, "cifar10-11", "training.epochs=60", error=0.11, training_errors=[0.5])
    whole = finished(tmp_path / "13", shard_set, "cifar10-13", error=0.13, training_errors=[0.5])
    cells = row(claims_table([short, whole]), "B2")
    assert "less" not in cells[3] and "11 11.00 ± 0.61 %, one view" in cells[3] and cells[7] == "not run yet"


def test_weight_decay_is_judged_by_the_training_error(shard_set: ShardSet, tmp_path: Path) -> None:
    plain = finished(tmp_path / "p", shard_set, "cifar10-19", error=0.30, training_errors=[0.4, 0.2])
    none = finished(
        tmp_path / "n", shard_set, "cifar10-19", "training.weight_decay=0", error=0.25, training_errors=[0.4, 0.1]
    )
    cells = row(claims_table([plain, none]), "B7")
    assert cells[3].startswith("decay less none: +10.00 ± ") and cells[3].endswith("points of training error")


def test_of_several_effects_of_one_kind_each_names_its_runs(shard_set: ShardSet, tmp_path: Path) -> None:
    records = [
        finished(
            tmp_path / name, shard_set, "cifar10-19", f"training.weight_decay={decay}", error=0.3, training_errors=[end]
        )
        for name, decay, end in (("none", 0, 0.1), ("strong", 0.1, 0.4), ("weak", 0.0005, 0.2))
    ]
    strong, weak = row(claims_table(records), "B7")[3].split("; ")
    assert strong.startswith("decay less none (strong, none): +30.00 ± ")
    assert weak.startswith("decay less none (weak, none): +10.00 ± ")


@pytest.mark.parametrize(
    "settings", [["training.rate=0.00001"], ["training.batch_size=1024"], ["schedule.kind=cosine"], ["data.flip=true"]]
)
def test_runs_that_differ_in_more_than_what_is_compared_are_not(
    shard_set: ShardSet, tmp_path: Path, settings: list[str]
) -> None:
    plain = finished(tmp_path / "p", shard_set, "cifar10-19", error=0.30, training_errors=[0.4, 0.2])
    other = [*settings, "training.weight_decay=0"]
    none = finished(tmp_path / "n", shard_set, "cifar10-19", *other, error=0.25, training_errors=[0.4, 0.5])
    assert "decay less none" not in row(claims_table([plain, none]), "B7")[3]


def test_published_networks_are_compared_where_both_are_changed_alike_and_what_else_differs_is_said(
    shard_set: ShardSet, tmp_path: Path
) -> None:
    def records(*last: str) -> list[RunRecord]:
        short = ["training.precision=fp32", "training.epochs=60", "schedule.at_epochs=[48, 54]"]
        return [
            finished(tmp_path / f"{net}{last}", shard_set, f"cifar10-{net}", *own, error=error, training_errors=[0.5])
            for net, error, own in (
                ("11", 0.11, short),
                ("13", 0.13, [*short, *last]),
                ("18", 0.18, short[:1]),
                ("19-140", 0.19, short[:1]),
            )
        ]

    cells = row(claims_table(records()), "B2")
    assert cells[3] == (
        "11 % less 13 % network: -2.00 ± 0.90 points of error, one view, 11.00 against 13.00 % "
        "(changed: training.epochs=60, schedule.at_epochs=[48, 54]); "
        "18 % less 19 % network: -1.00 ± 1.08 points of error, one view (different too: decay of fc10, 1 against 3)"
    )
    assert "11 % less 13 %" not in row(claims_table(records("training.rate=0.01")), "B2")[3]


def test_a_built_in_recipe_is_read_once_for_all_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes, names = [load_recipe(name) for name in ("cifar10-11", "cifar10-13", "cifar10-18")], []
    monkeypatch.setattr(alike, "load_recipe", lambda name: names.append(name) or load_recipe(name))
    for one in recipes:
        for other in recipes:
            alike.also_different(one, other, ())
    assert len(names) == len(set(names))


def test_net_145_is_compared_with_its_published_ablations(shard_set: ShardSet, tmp_path: Path) -> None:
    errors = {"original": 0.4, "b2": 0.42, "b3": 0.41, "b4": 0.5, "b5": 0.42, "b6": 0.5, "b8-conv3": 0.45}
    errors |= {"b7-decay": 0.41, "b7-bias": 0.4}
    records = [
        finished(tmp_path / name, shard_set, name, error=error, training_errors=[0.9 + error / 10, error])
        for name, error in errors.items()
    ]
    table = claims_table(records)
    schedule = "(different too: training.epochs, training.param_groups, training.changes, schedule.at_epochs)"
    assert row(table, "B2")[3] == f"with less without: -2.00 ± 1.36 points of error, one view {schedule}"
    for id, points in (("B4", -10), ("B5", -2), ("B6", -10), ("B8", -5)):
        assert f": {points:+.2f} ± " in row(table, id)[3] and "different too" not in row(table, id)[3]
    decay, bias = row(table, "B7")[3].split("; ")
    assert decay.startswith("decay less none: -1.00 ± ") and decay.endswith("points of training error")
    assert bias.startswith("biases of 1 less 0: +0.00 ± ") and bias.endswith("training error of the first epoch")


def test_figure_1_is_the_ratio_of_epochs_to_25_percent_each_at_its_best_rate(
    shard_set: ShardSet, tmp_path: Path
) -> None:
    def curve(epochs: int) -> list[float]:
        return [*[0.4] * (epochs - 1), 0.25]

    records = [
        finished(
            tmp_path / "relu-slow", shard_set, "f1-relu", "training.rate=0.01", error=0.3, training_errors=curve(9)
        ),
        *[
            finished(tmp_path / f"relu-seed{i}", shard_set, "f1-relu", error=0.3, training_errors=curve(n), seed=i)
            for i, n in enumerate((2, 3))
        ],
        *[
            finished(tmp_path / f"tanh-seed{i}", shard_set, "f1-tanh", error=0.3, training_errors=curve(n), seed=i)
            for i, n in enumerate((12, 13))
        ],
    ]
    cells = row(claims_table(records), "F1")
    assert cells[3] == "tanh against ReLU: 5.0 times (4.0 to 6.5); epochs 2, 3; 12, 13"
    assert cells[7] == "shown on 3 classes"
    never = finished(tmp_path / "never", shard_set, "f1-tanh", error=0.3, training_errors=[0.4] * 20)
    assert "more than 8.0 times; epochs 2, 3; not within 20" in row(claims_table([*records[:3], never]), "F1")[3]
    assert row(claims_table(records[:3]), "F1")[7] == "not run yet"


def test_runs_of_figure_1_are_drawn_as_it_is_and_others_with_their_validation_errors(
    shard_set: ShardSet, tmp_path: Path
) -> None:
    figure_1 = finished(tmp_path / "r", shard_set, "f1-relu", error=0.3, training_errors=[0.4, 0.2])
    other = finished(tmp_path / "p", shard_set, "cifar10-19", error=0.30, training_errors=[0.4, 0.2])
    wide = {}
    for name, records in (("one", [figure_1]), ("two", [figure_1, other])):
        draw_errors(tmp_path / f"{name}.png", records)
        with Image.open(tmp_path / f"{name}.png") as picture:
            wide[name] = picture.width / picture.height > 2  # two charts
    assert wide == {"one": False, "two": True}
    with pytest.raises(InputError, match="name at least one RUN"):
        draw_errors(tmp_path / "none.png", [])


def test_an_unfinished_run_is_refused(shard_set: ShardSet, tmp_path: Path) -> None:
    Run.start_or_resume(tmp_path / "run", load_recipe("f1-relu"), shard_set)
    with pytest.raises(ValueError, match="run: not finished; train it to its end first"):
        read_record(tmp_path / "run")
