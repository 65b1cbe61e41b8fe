"""Runs that are changed, damaged, refused, owned by somebody else, or have nothing to validate on."""

import json
import os
import shutil
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch

from alexkit.model.evaluation.load import load_network
from alexkit.model.runs.load import change_recipe, load_recipe, load_start
from alexkit.model.runs.recipe import RecipeChange
from alexkit.model.runs.run import Run
from alexkit.model.runs.weights import read_weights
from alexkit.model.training.trainer import Trainer

from .run_kit import OVERRIDES, SAVE_ALWAYS, Stopped, last_weights, newest_step, numbers, train, weights


def test_a_finished_run_goes_on_for_more_epochs_like_one_that_was_to_have_them(shards: Path, tmp_path: Path) -> None:
    steps = [*OVERRIDES, "schedule.at_epochs=[1]"]
    train(shards, tmp_path / "run", [*steps, "training.epochs=2"])
    result = train(shards, tmp_path / "run", [*steps, "training.epochs=3"])
    assert (result["epochs"], result["steps"]) == (3, 18)
    train(shards, tmp_path / "whole", [*steps, "training.epochs=3"])
    assert last_weights(tmp_path / "run") == last_weights(tmp_path / "whole")
    history = json.loads((tmp_path / "run" / "config.json").read_text())["history"]
    assert history == [{"step": 12, "set": {"training.epochs": 3}}]
    # The command of either length finds it finished.
    assert train(shards, tmp_path / "run", [*steps, "training.epochs=2"])["epochs"] == 3


def stopped_after(step: int) -> Callable[[int, str], None]:
    def stop(images: int, note: str) -> None:
        if images == 16 * step:
            raise Stopped

    return stop


def change(shards: Path, folder: Path, overrides: list[str], **options: Any) -> dict[str, Any]:
    recipe = change_recipe(Run.open(folder).recipe_at(), overrides)
    trainer = Trainer(recipe, shards, folder, device="cpu", change=True)
    try:
        return trainer.run(**options)
    finally:
        trainer.close()


def test_a_run_is_changed_by_hand_from_the_step_it_stands_at_and_replays_it(shards: Path, tmp_path: Path) -> None:
    by_hand, given = tmp_path / "by_hand", tmp_path / "given"
    always = [*OVERRIDES, "training.checkpoint_minutes=0"]
    with pytest.raises(Stopped):
        train(shards, by_hand, always, report=stopped_after(9))
    with pytest.raises(Stopped):
        change(shards, by_hand, ["training.rate=0.0005"], report=stopped_after(16))
    assert json.loads((by_hand / "config.json").read_text())["history"] == [
        {"step": 8, "set": {"training.rate": 0.0005}}
    ]
    # Its checkpoints after the change are lost: it makes those steps again; the command of the start resumes it.
    for path in (by_hand / "checkpoints").iterdir():
        if int(path.name[5:]) > 8:
            shutil.rmtree(path)
    train(shards, by_hand, always)
    changed = 8 / 6  # epochs
    groups = f"[{{match=['*.weight'], rates=[[0, 0.002], [{changed}, 0.0005], [3, 0.00005]]}}, "
    groups += f"{{match=['*.bias'], rates=[[0, 0.004], [{changed}, 0.001], [3, 0.0001]]}}]"
    train(shards, given, [*OVERRIDES, f"training.param_groups={groups}"])
    found, expected = weights(by_hand), weights(given)
    assert all(torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-6) for name in expected)
    rates = [line["rate"] for line in numbers(given) if line["kind"] == "train"]
    assert list(dict.fromkeys(rates)) == [0.002, 0.0005, 0.00005]  # what it learns at, whatever training.rate says
    assert load_network(by_hand).recipe.training.rate == 0.0005
    # Its configuration trains it again, with the change at its step.
    recipe, history = load_start(str(by_hand / "config.json"), ["training.checkpoint_minutes=10"])
    trainer = Trainer(recipe, shards, tmp_path / "again", device="cpu", history=history)
    trainer.run()
    trainer.close()
    assert last_weights(tmp_path / "again") == last_weights(by_hand)
    longer = RecipeChange(step=24, set={"training.epochs": 5})
    trainer = Trainer(recipe, shards, tmp_path / "longer", device="cpu", history=(longer,))
    trainer.close()
    assert trainer.num_steps == 30


def test_a_change_can_be_taken_back_and_one_that_waits_is_made_with_the_next(
    shards: Path, finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)

    def changes(*overrides: str) -> list[tuple[int, dict[str, Any]]]:
        recipe = change_recipe(Run.open(folder).recipe_at(), overrides)
        Trainer(recipe, shards, folder, device="cpu", change=True).close()
        return [(change.step, change.set) for change in Run.open(folder).history]

    slower, back = (24, {"training.rate": 0.0005}), (24, {"training.rate": 0.002})
    assert changes("training.rate=0.0005") == [slower] and not (folder / "result.json").exists()
    assert changes("training.rate=0.002") == [slower, back]
    assert changes("training.rate=0.002") == [slower, back]  # it is so already
    assert Run.open(folder).recipe_at() == Run.open(folder).recipe
    assert changes("training.momentum=0.8")[2:] == [(24, {"training.momentum": 0.8})]
    shutil.rmtree(folder / "checkpoints/step-00000024")
    assert changes("training.momentum=0.8") == [(18, {"training.momentum": 0.8})]


def test_a_changed_run_reads_the_data_as_it_was_changed_where_it_stands(
    shards: Path, draw_shards: Callable[..., Path], finished: Path, tmp_path: Path
) -> None:
    folder, sets = tmp_path / "run", tmp_path / "set"
    shutil.copytree(finished, folder)
    sets.mkdir()
    for split in ("train", "val"):
        (sets / split).symlink_to((shards / split).resolve())
    (sets / "test").symlink_to(draw_shards(num_samples=30, size_px=32, split="test"))

    def read(**options: bool) -> tuple[str, str]:
        changes = ["data.validate_on=val", "data.on_error=replace"] if options else []
        recipe = change_recipe(load_recipe("cifar10-19", OVERRIDES), changes)
        trainer = Trainer(recipe, sets, folder, device="cpu", **options)
        trainer.close()
        assert trainer.data.validation is not None
        return trainer.data.validation.shard_set.manifest.split, trainer.loader._arguments["on_error"]

    assert read() == ("test", "raise")
    assert read(change=True) == ("val", "replace")
    assert read() == ("val", "replace")  # by the command of its start
    # It stands at an earlier step than the names of its checkpoints say.
    (folder / "checkpoints/step-00000024/weights.safetensors").write_bytes(b"damaged")
    assert read() == ("test", "raise")


def test_a_predecessor_that_is_not_finished_is_named(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_weights(finished)
    assert not caplog.text
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run/result.json").unlink()
    read_weights(tmp_path / "run")
    assert "run: this run is not finished; starting from its checkpoint of step 24" in caplog.text


@pytest.mark.parametrize("key", ["training.batch_size=8", "network.without=['conv3']", "training.seed=1"])
def test_what_makes_another_run_cannot_be_changed_on_the_way(shards: Path, finished: Path, key: str) -> None:
    before = (finished / "config.json").read_bytes()
    with pytest.raises(ValueError, match=f"{key.partition('=')[0]} cannot be changed during a run"):
        change(shards, finished, [key])
    assert (finished / "config.json").read_bytes() == before


def test_a_run_that_ended_before_its_first_checkpoint_does_not_block_its_name(
    shards: Path, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        train(shards, tmp_path / "run", [*OVERRIDES, "training.seed=5"], report=stopped_after(2))
    assert (tmp_path / "run" / "config.json").exists()
    train(shards, tmp_path / "run")
    assert last_weights(tmp_path / "run") == last_weights(finished)
    assert numbers(tmp_path / "run") == numbers(finished)


def test_two_trainers_cannot_have_one_run_folder(shards: Path, tmp_path: Path) -> None:
    trainer = Trainer(load_recipe("cifar10-19", OVERRIDES), shards, tmp_path / "run", device="cpu")
    with pytest.raises(ValueError, match="is training this run; wait for it"):
        train(shards, tmp_path / "run")
    trainer.close()
    train(shards, tmp_path / "run", [*OVERRIDES, "training.epochs=1", "schedule.kind=constant"])


def test_a_disk_without_room_for_all_checkpoints_refuses_the_start(
    shards: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    one = sum(8 * weight.numel() for weight in weights(finished).values())
    monkeypatch.setattr("alexkit.model.runs.checkpoint.free_bytes", lambda path: free)
    free = 4 * one - 1
    with pytest.raises(ValueError, match=r"run/checkpoints: \d MB free, but \d MB needed for 4 more checkpoints; make"):
        train(shards, folder)
    Trainer(load_recipe("cifar10-19", OVERRIDES), shards, tmp_path / "forecast", device="cpu").close()  # as --dry-run
    free = 4 * one
    with pytest.raises(Stopped):
        train(shards, folder, report=stopped_after(13))
    free = 2 * one - 1  # two are there
    with pytest.raises(ValueError, match="needed for 2 more"):
        train(shards, folder)
    free = 2 * one
    train(shards, folder)
    free = 0
    assert train(shards, folder)["epochs"] == 4


def test_a_run_whose_folder_is_moved_or_unmounted_ends_and_is_not_continued_in_a_new_one(
    shards: Path, finished: Path, tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"

    def move(line: str) -> None:
        if line.startswith("epoch 2/"):
            folder.rename(elsewhere)

    with pytest.raises(FileNotFoundError, match=r"no longer there, .* resume where its checkpoints are: .*run/check"):
        train(shards, folder, on_epoch=move)
    assert not (folder / "config.json").exists() and newest_step(folder) == 0
    assert newest_step(elsewhere) == 12
    train(shards, elsewhere)
    assert last_weights(elsewhere) == last_weights(finished)
    assert numbers(elsewhere) == numbers(finished)


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew_unless_told(
    shards: Path, finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for path in folder.glob("checkpoints/*/weights.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    (folder / "result.json").unlink()
    log = (folder / "log.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"all checkpoints are damaged \(step-.*start over with 'alextrain --restart'"):
        train(shards, folder)
    assert (folder / "log.jsonl").read_bytes() == log
    trainer = Trainer(load_recipe("cifar10-19", OVERRIDES), shards, folder, device="cpu", restart=True)
    assert trainer.step == 0
    trainer.run()
    trainer.close()
    assert last_weights(folder) == last_weights(finished)


def test_a_damaged_log_and_result_are_no_reason_to_stop(
    shards: Path, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "result.json").write_text((folder / "result.json").read_text().replace("top1_error", "top3_error"))
    lines = (folder / "log.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "log.jsonl").write_bytes(b"".join([lines[0], b"\xff\n", *lines[1:]]))
    assert train(shards, folder) == json.loads((finished / "result.json").read_text())
    assert "rewriting it" in caplog.text and "moved to log.damaged" in caplog.text


def test_without_a_validation_set_nothing_is_validated_and_that_is_said(
    shards: Path, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "train").symlink_to((shards / "train").resolve())
    result = train(tmp_path / "alone", tmp_path / "run")
    assert result == {"epochs": 4, "steps": 24}
    assert "nothing is validated" in caplog.text and "has no test and no val" in caplog.text
    assert last_weights(tmp_path / "run") == last_weights(finished)  # validating draws nothing
    with pytest.raises(ValueError, match=r"schedule.kind = 'plateau' needs the validation error to lower the rate"):
        train(tmp_path / "alone", tmp_path / "other", [*OVERRIDES, "schedule.kind=plateau"])
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("wanted", "images"), [("val", 40), ("test", 30), ("none", None)])
def test_the_recipe_says_which_split_is_validated_on(
    shards: Path, draw_shards: Callable[..., Path], tmp_path: Path, wanted: str, images: int | None
) -> None:
    (tmp_path / "set").mkdir()
    for split in ("train", "val"):
        (tmp_path / "set" / split).symlink_to((shards / split).resolve())
    (tmp_path / "set" / "test").symlink_to(draw_shards(num_samples=30, size_px=32, split="test"))
    once = [*OVERRIDES, "training.epochs=1", "schedule.kind=constant", f"data.validate_on={wanted}"]
    assert train(tmp_path / "set", tmp_path / "run", once).get("images") == images


def test_files_of_a_run_follow_the_umask(shards: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        train(shards, tmp_path / "run", [*OVERRIDES, "training.epochs=1", "schedule.kind=constant"])
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "run").rglob("*.*") if path.is_file()}
    assert {"weights.safetensors", "momentum.safetensors", "state.json", "log.jsonl"} <= modes.keys()
    assert set(modes.values()) == {0o640}, modes


def test_a_run_ends_after_the_first_epoch_with_the_training_error_it_was_to_reach(
    shards: Path, finished: Path, tmp_path: Path
) -> None:
    by_epoch: dict[int, list[tuple[int, float]]] = {}
    before = 0
    for line in (line for line in numbers(finished) if line["kind"] == "train"):
        by_epoch.setdefault(ceil(line["epoch"]), []).append((line["step"] - before, line["top1_error"]))
        before = line["step"]
    errors = [sum(steps * error for steps, error in lines) / 6 for lines in by_epoch.values()]
    assert errors[0] > errors[1] > errors[2]
    enough = [*SAVE_ALWAYS, "training.validate_every=4", f"training.stop_at_train_error={(errors[0] + errors[1]) / 2}"]
    lines: list[str] = []
    result = train(shards, tmp_path / "whole", enough, on_epoch=lines.append)
    assert (result["epochs"], result["steps"], result["images"]) == (2, 12, 40)
    assert lines[1].endswith(f"training error {errors[1]:.1%} is at most {(errors[0] + errors[1]) / 2:.1%}: stopping")
    assert train(shards, tmp_path / "whole", enough) == result  # it is finished
    # Stopped within the epoch, it has not forgotten what it saw of it.
    with pytest.raises(Stopped):
        train(shards, tmp_path / "run", enough, report=stopped_after(9))
    assert train(shards, tmp_path / "run", enough) == result
    assert last_weights(tmp_path / "run") == last_weights(tmp_path / "whole")
    less = f"training.stop_at_train_error={(errors[1] + errors[2]) / 2}"
    assert change(shards, tmp_path / "run", [less])["epochs"] == 3
