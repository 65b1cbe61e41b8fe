"""A validation split that becomes training data on the way, as cuda-convnet's fifth batch did."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexkit.model.runs.checkpoint import newest_checkpoint
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.calendar import Calendar, Phase
from alexkit.model.training.trainer import Trainer
from alexkit.pipeline import Loader

from .run_kit import OVERRIDES, Stopped, last_weights, numbers, train

FOLDED = [*OVERRIDES, 'training.changes=[{epoch=2,fold_in="val"}]', "data.validate_on=test"]
STEPS = 2 * 6 + 2 * 8  # of 100 images, then of 140, in batches of 16


@pytest.fixture(scope="module")
def three_splits(shards: Path, draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three")
    for split in ("train", "val"):
        (folder / split).symlink_to((shards / split).resolve())
    (folder / "test").symlink_to(draw_shards(num_samples=24, size_px=32, split="test"))
    return folder


@pytest.fixture(scope="module")
def whole(three_splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert train(three_splits, folder, FOLDED)["steps"] == STEPS
    return folder


def test_epochs_and_steps_are_each_others_inverse_in_every_phase() -> None:
    calendar = Calendar(
        phases=(
            Phase(epoch=0, step=0, steps_per_epoch=6, splits=("train",)),
            Phase(epoch=2, step=12, steps_per_epoch=8, splits=("train", "val")),
        )
    )
    assert [calendar.step_at(epoch) for epoch in range(5)] == [0, 6, 12, 20, 28]
    assert [calendar.finished(step) for step in (0, 5, 6, 11, 12, 19, 20)] == [0, 0, 1, 1, 2, 2, 3]
    assert [calendar.within(step) for step in (5, 6, 12, 16, 20)] == [5, 0, 0, 4, 0]
    assert [calendar.epoch(step) for step in (3, 12, 16)] == [0.5, 2.0, 2.5]


def test_from_its_epoch_on_the_split_is_trained_on_and_epochs_are_longer(three_splits: Path, whole: Path) -> None:
    ends = [(line["step"], line["epoch"]) for line in numbers(whole) if line["kind"] == "val"]
    assert ends == [(6, 1), (12, 2), (20, 3), (28, 4)]
    trained = [(line["step"], line["epoch"]) for line in numbers(whole) if line["kind"] == "train"]
    assert trained == [(6, 1.0), (12, 2.0), (20, 3.0), (28, 4.0)]


def test_its_batches_are_those_of_a_loader_of_both_splits_in_that_epoch(three_splits: Path, tmp_path: Path) -> None:
    recipe = load_recipe("cifar10-19", FOLDED)
    seen: list[list[str]] = []
    trainer = Trainer(recipe, three_splits, tmp_path / "run", device="cpu")
    step = trainer.learner.begin_step

    def watched(batch, *arguments, **options):  # type: ignore[no-untyped-def]
        seen.append(batch.keys)
        return step(batch, *arguments, **options)

    trainer.learner.begin_step = watched  # type: ignore[method-assign]
    trainer.run()
    trainer.close()
    folders = [three_splits / "train", three_splits / "val"]
    with Loader(folders, batch_size=16, augment=recipe.data.augment()) as loader:
        loader.set_epoch(2)
        expected = [batch.keys for _ in range(2) for batch in loader]
    assert seen[12:] == expected


@pytest.mark.parametrize("after_step", [11, 12, 13, 19, 20, 21])
def test_a_run_stopped_about_the_fold_resumes_bit_for_bit(
    three_splits: Path, whole: Path, tmp_path: Path, after_step: int
) -> None:
    def stop(images: int, note: str) -> None:
        if images == 16 * after_step:
            raise Stopped

    always = [*FOLDED, "training.checkpoint_minutes=0"]
    with pytest.raises(Stopped):
        train(three_splits, tmp_path / "run", always, report=stop)
    checkpoint = newest_checkpoint(tmp_path / "run/checkpoints")
    assert checkpoint is not None and checkpoint.step <= after_step
    train(three_splits, tmp_path / "run", always)
    assert last_weights(tmp_path / "run") == last_weights(whole)
    assert numbers(tmp_path / "run") == numbers(whole)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["data.validate_on=val"], "trains on the split that data.validate_on = 'val' scores"),
        (["data.order=fixed"], "fold_in needs data.order = 'full', got 'fixed'"),
        (['training.changes=[{epoch=1,fold_in="val"},{epoch=2,fold_in="val"}]'], "can be folded in only once"),
        (['training.changes=[{epoch=1,fold_in="test"}]'], "fold_in must be one of val"),
    ],
)
def test_a_fold_that_cannot_be_is_refused(changed: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe("cifar10-19", [*FOLDED, *changed])


def test_a_fold_is_refused_where_the_split_is_not_and_where_the_run_has_begun(
    three_splits: Path, whole: Path, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        (tmp_path / split).symlink_to((three_splits / split).resolve())
    with pytest.raises(ValueError, match=r"has no val, which training.changes folds in"):
        train(tmp_path, tmp_path / "run", FOLDED)
    (tmp_path / "test").rename(tmp_path / "val")
    with pytest.raises(ValueError, match=r"has no test, so val would be scored, but training.changes folds it into"):
        train(tmp_path, tmp_path / "run", FOLDED)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"training.changes.fold_in cannot be changed during a run"):
        trainer = Trainer(
            load_recipe("cifar10-19", [*OVERRIDES, "data.validate_on=test"]), three_splits, whole, change=True
        )
        trainer.close()
