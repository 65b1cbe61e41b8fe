import json
import os
import random
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from alexkit.model.processes.layout import Layout
from alexkit.model.runs.checkpoint import newest_checkpoint, save_checkpoint
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.learner import Learner
from alexkit.model.training.step import PendingStep
from alexkit.model.training.trainer import Trainer
from alexkit.pipeline import Batch, Loader, TrainAugment
from alexkit.prep import PixelOptions
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.sources import SourceOptions, open_source

from ...conftest import draw_image
from .run_kit import OVERRIDES, SAVE_ALWAYS, SCRIPT, Stopped, last_weights, newest_step, numbers, train, weights


def test_training_learns_what_can_be_learned(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    assert result["images"] == 40 and result["steps"] == 24
    losses = [line["loss"] for line in numbers(finished) if line["kind"] == "val"]
    assert losses[-1] < 0.8 * losses[0]
    assert result["top1_error"] <= 0.5 < 0.75  # three of four classes would be wrong by chance


def test_the_log_has_every_epoch_and_the_rates_of_the_schedule(finished: Path) -> None:
    lines = numbers(finished)
    assert [line["epoch"] for line in lines if line["kind"] == "val"] == [1, 2, 3, 4]
    rates = {line["step"]: line["rate"] for line in lines if line["kind"] == "train"}
    assert rates == {6: 0.002, 12: 0.002, 18: 0.002, 20: pytest.approx(0.0002), 24: pytest.approx(0.0002)}


def test_a_run_leaves_its_configuration_its_pictures_and_two_checkpoints(finished: Path) -> None:
    config = json.loads((finished / "config.json").read_text())
    assert config["recipe"]["training"]["batch_size"] == 16
    assert config["data"]["class_ids"] == [f"class{i}" for i in range(4)]
    for name in ("curves.png", "filters.png"):
        assert (finished / name).read_bytes()[:4] == b"\x89PNG"
    assert 2 <= len(list((finished / "checkpoints").iterdir())) <= 3  # the best may be an older one
    assert list((finished / "tensorboard").iterdir())


def test_the_configuration_that_a_run_left_reproduces_it(shards: Path, finished: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(finished / "config.json"))
    trainer = Trainer(recipe, shards, tmp_path / "again", device="cpu")
    trainer.run()
    trainer.close()
    assert last_weights(tmp_path / "again") == last_weights(finished)


def test_tensorboard_has_the_numbers_of_the_log(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(finished / "tensorboard"))
    board.Reload()
    for kind in ("train", "val"):
        lines = [line for line in numbers(finished) if line["kind"] == kind]
        for name in ("loss", "top1_error"):
            events = board.Scalars(f"{kind}/{name}")
            assert [event.step for event in events] == [line["step"] for line in lines]
            assert [event.value for event in events] == pytest.approx([line[name] for line in lines], rel=1e-6)


def test_the_log_says_what_tells_a_sick_run_from_a_slow_one(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    assert all(
        line["gradient_norm"] > 0 and line["images_per_s"] > 0 and 0 <= line["wait_fraction"] <= 1 for line in steps
    )
    assert all(0 <= line["dead_fraction"] < 0.5 for line in steps if line["step"] % 6 == 0)


def test_the_checkpoint_of_the_best_epoch_is_kept(shards: Path, tmp_path: Path) -> None:
    # Epochs after the second learn nothing more, so the best is an early one and not among the last two.
    overrides = [*OVERRIDES, "training.epochs=8", "schedule.at_epochs=[1]", "schedule.divide_by=1e6"]
    train(shards, tmp_path / "run", overrides)
    errors = {line["step"]: line["top1_error"] for line in numbers(tmp_path / "run") if line["kind"] == "val"}
    best = min(errors, key=lambda step: (errors[step], step))
    assert best < 42, errors
    kept = {int(path.name[5:]) for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {best, 42, 48}


def test_a_finished_run_is_not_trained_again(shards: Path, finished: Path) -> None:
    before = last_weights(finished)
    assert train(shards, finished) == json.loads((finished / "result.json").read_text())
    assert last_weights(finished) == before


def test_all_that_a_step_needs_is_made_while_libraries_are_imported(shards: Path, tmp_path: Path) -> None:
    trainer = Trainer(load_recipe("cifar10-19", OVERRIDES), shards, tmp_path / "run", device="cpu")
    momenta = [state["momentum_buffer"] for state in trainer.learner.optimizer.state.values()]
    trainer.close()
    assert len(momenta) == len(list(trainer.learner.network.parameters())) and not any(map(torch.any, momenta))


def test_the_same_seed_gives_the_same_bits_and_another_does_not(shards: Path, finished: Path, tmp_path: Path) -> None:
    train(shards, tmp_path / "again")
    assert last_weights(tmp_path / "again") == last_weights(finished)
    assert numbers(tmp_path / "again") == numbers(finished)
    train(shards, tmp_path / "other", [*OVERRIDES, "training.seed=1"])
    assert last_weights(tmp_path / "other") != last_weights(finished)


@pytest.mark.parametrize("after_step", [1, 5, 6, 7, 20])
def test_a_run_stopped_after_any_step_resumes_bit_for_bit(
    shards: Path, finished: Path, tmp_path: Path, after_step: int
) -> None:
    def stop(images: int, note: str) -> None:
        if images == 16 * after_step:
            raise Stopped

    with pytest.raises(Stopped):
        train(shards, tmp_path / "run", report=stop)
    train(shards, tmp_path / "run")
    assert last_weights(tmp_path / "run") == last_weights(finished)
    assert numbers(tmp_path / "run") == numbers(finished)
    continued, whole = (newest_checkpoint(folder / "checkpoints") for folder in (tmp_path / "run", finished))
    assert continued and whole and continued.state == whole.state  # the best epoch and the plateau's memory, too


def test_sigterm_saves_the_step_it_came_in(shards: Path, finished: Path, tmp_path: Path) -> None:
    def terminate(images: int, note: str) -> None:
        if images == 16 * 8:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path / "run", report=terminate)
    checkpoint = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None and checkpoint.step == 9  # the step under way is finished
    train(shards, tmp_path / "run")
    assert last_weights(tmp_path / "run") == last_weights(finished)


def test_no_process_stops_before_the_checkpoint_is_written(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Launchers end all processes when the first one exits."""
    done: list[str] = []

    def save(folder: Path, step: int, *given: Any, **options: Any) -> None:
        save_checkpoint(folder, step, *given, **options)
        done.append("saved")

    def terminate(images: int, note: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("alexkit.model.training.trainer.save_checkpoint", save)
    monkeypatch.setattr(Layout, "barrier", lambda layout: done.append("all there"))
    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path / "run", report=terminate)
    assert done[-2:] == ["saved", "all there"]


@pytest.mark.faults
@pytest.mark.parametrize("num_kills", [8, pytest.param(25, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(
    shards: Path, finished: Path, tmp_path: Path, start_script: Callable[..., BaseProcess], num_kills: int
) -> None:
    chance = random.Random(num_kills)
    steps_at_kills: list[int] = []
    while len(steps_at_kills) < num_kills:
        folder = tmp_path / f"run-{len(steps_at_kills)}"
        while not (folder / "result.json").exists():
            process = start_script(
                SCRIPT, stderr=tmp_path / "stderr", shards=shards, folder=folder, overrides=SAVE_ALWAYS
            )
            if len(steps_at_kills) < num_kills:
                # Somewhere in the start, or in the few steps after a random one.
                goal = newest_step(folder) + chance.randrange(4)
                while process.is_alive() and newest_step(folder) < goal:
                    process.join(0.01)
                process.join(chance.uniform(0, 0.1))
                process.kill()
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL), (tmp_path / "stderr").read_text()
            if process.exitcode:
                steps_at_kills.append(newest_step(folder))
        assert last_weights(folder) == last_weights(finished)
        assert numbers(folder) == numbers(finished)
    assert len(set(steps_at_kills)) > 3, steps_at_kills


def test_a_damaged_newest_checkpoint_costs_its_steps_and_nothing_else(
    shards: Path, finished: Path, tmp_path: Path
) -> None:
    def stop(images: int, note: str) -> None:
        if images == 16 * 14:
            raise Stopped

    with pytest.raises(Stopped):
        train(shards, tmp_path / "run", report=stop)
    newest = tmp_path / "run" / "checkpoints" / "step-00000012" / "weights.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    train(shards, tmp_path / "run")
    assert last_weights(tmp_path / "run") == last_weights(finished)


CHANGED = [
    *OVERRIDES,
    "data.jitter=original",
    "training.changes=[{epoch=2, jitter='off'}]",
    "training.param_groups=[{match=['conv1.*'], rates=[[0, 0.002], [2, 0]]}]",
]


def test_changes_of_rate_and_color_noise_hold_from_their_epoch_on(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    whole_step = Learner.begin_step

    def watched_step(self: Learner, batch: Batch, rate: float, epoch: float, **options: int | None) -> PendingStep:
        seen.append(batch.images.clone())
        return whole_step(self, batch, rate, epoch, **options)

    monkeypatch.setattr(Learner, "begin_step", watched_step)
    train(shards, tmp_path / "run", CHANGED)
    with (
        Loader(shards / "train", batch_size=16, augment=TrainAugment(crop=32, flip=False, jitter="original")) as noisy,
        Loader(shards / "train", batch_size=16, augment=TrainAugment(crop=32, flip=False, jitter="off")) as plain,
    ):
        for epoch in range(4):
            for number, (with_noise, without) in enumerate(zip(noisy, plain, strict=True)):
                expected = without.images if epoch >= 2 else with_noise.images
                assert torch.equal(seen[6 * epoch + number], expected), (epoch, number)
    third, fourth = (load_file(tmp_path / "run" / "checkpoints" / f"step-{step:08d}" / "weights.safetensors")
                     for step in (18, 24))  # fmt: skip
    assert [name for name in third if torch.equal(third[name], fourth[name])] == ["conv1.bias", "conv1.weight"]


@pytest.mark.parametrize("after_step", [11, 12, 13])
def test_a_run_stopped_about_a_change_continues_bit_for_bit(shards: Path, tmp_path: Path, after_step: int) -> None:
    def stop(images: int, note: str) -> None:
        if images == 16 * after_step:
            raise Stopped

    always = [*CHANGED, "training.checkpoint_minutes=0"]
    train(shards, tmp_path / "whole", always)
    with pytest.raises(Stopped):
        train(shards, tmp_path / "run", always, report=stop)
    train(shards, tmp_path / "run", always)
    assert last_weights(tmp_path / "run") == last_weights(tmp_path / "whole")
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")


@pytest.mark.slow
def test_a_float16_run_keeps_its_loss_scale_when_it_is_continued(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexkit.model.network.precision.GROWTH_STEPS", 3)  # so that the scale moves in so short a run
    # Six steps, since float16 is slow on most CPUs.
    fp16 = [*OVERRIDES, "training.precision=fp16", "training.checkpoint_minutes=0", "training.epochs=1"]

    def stop(images: int, note: str) -> None:
        if images == 16 * 4:
            raise Stopped

    train(shards, tmp_path / "whole", fp16)
    with pytest.raises(Stopped):
        train(shards, tmp_path / "run", fp16, report=stop)
    train(shards, tmp_path / "run", fp16)
    assert last_weights(tmp_path / "run") == last_weights(tmp_path / "whole")
    states = [newest_checkpoint(tmp_path / name / "checkpoints") for name in ("run", "whole")]
    assert states[0] and states[1]
    scales = [state.state["progress"]["loss_scale"] for state in states if state]
    assert scales[0] == scales[1] != {"factor": 2.0**16, "steps": 6}


def test_a_batch_in_pieces_teaches_what_the_whole_batch_does(shards: Path, finished: Path, tmp_path: Path) -> None:
    train(shards, tmp_path / "pieces", [*OVERRIDES, "training.accumulate=4"])
    for name, tensor in weights(finished).items():
        assert torch.allclose(weights(tmp_path / "pieces")[name], tensor, rtol=1e-3, atol=1e-5), name


def test_in_bfloat16_too_and_a_stopped_run_resumes_bit_for_bit(shards: Path, tmp_path: Path) -> None:
    bf16 = [*OVERRIDES, "training.precision=bf16", "training.epochs=2", "schedule.kind=linear"]

    def stop(images: int, note: str) -> None:
        if images == 16 * 7:
            raise Stopped

    train(shards, tmp_path / "whole", bf16)
    with pytest.raises(Stopped):
        train(shards, tmp_path / "run", bf16, report=stop)
    train(shards, tmp_path / "run", bf16)
    assert last_weights(tmp_path / "run") == last_weights(tmp_path / "whole")
    train(shards, tmp_path / "pieces", [*bf16, "training.accumulate=4"])
    whole, pieces = weights(tmp_path / "whole"), weights(tmp_path / "pieces")
    for name, tensor in whole.items():
        # Gradients are rounded to eight bits, and what is rounded is fed back from step to step.
        assert float((pieces[name] - tensor).norm()) < 2**-6 * float(tensor.norm()) + 2**-6, name


def test_a_run_from_another_dataset_is_refused(
    shards: Path, finished: Path, draw_shards: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "train").symlink_to(draw_shards(num_samples=60, size_px=32, num_classes=3))
    (tmp_path / "val").symlink_to(draw_shards(num_samples=30, size_px=32, num_classes=3, split="val"))
    with pytest.raises(
        ValueError, match=r"finished: this run was trained on another dataset \(4 classes: .*another --name"
    ):
        train(tmp_path, finished)


def test_images_without_labels_and_a_single_class_teach_nothing(
    draw_shards: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    for i in range(20):
        Image.fromarray(draw_image(i, 0, 32)).save(tmp_path / f"images/{i}.png")
    found = open_source(tmp_path / "images", SourceOptions(unlabeled=True))
    build_shards(found, tmp_path / "unlabeled", BuildOptions(pixels=PixelOptions(size_px=32), num_workers=1))
    with pytest.raises(
        ValueError, match="unlabeled/train: its images were stored without labels; shard labeled images"
    ):
        train(tmp_path / "unlabeled", tmp_path / "run")
    (tmp_path / "one").mkdir()
    (tmp_path / "one/train").symlink_to(draw_shards(num_samples=60, size_px=32, num_classes=1))
    with pytest.raises(ValueError, match="one/train: has only one class, class0"):
        train(tmp_path / "one", tmp_path / "run")


def test_a_run_with_another_recipe_is_refused_naming_the_key(shards: Path, finished: Path) -> None:
    with pytest.raises(ValueError, match=r"started with training.rate = 0.002, now 0.1; choose another --name"):
        train(shards, finished, [*OVERRIDES, "training.rate=0.1"])
    with pytest.raises(ValueError, match=r"started with training.epochs = 4, now 3; choose another --name"):
        train(shards, finished, [*OVERRIDES, "training.epochs=3"])


def test_a_folder_that_is_no_run_is_refused(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"holds letters.txt but no config.json"):
        train(shards, tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_naming_the_step(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"step \d+: the loss or a gradient is not finite \(samples sample-"):
        train(shards, tmp_path / "run", [*OVERRIDES, "training.rate=1e30"])


def test_a_crop_that_the_network_does_not_read_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.crop is 24 px, but the network cifar10-19 reads 32 px"):
        train(shards, tmp_path / "run", [*OVERRIDES, "data.crop=24"])


def test_a_run_can_start_from_another_with_other_classes(
    finished: Path, draw_shards: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "train").symlink_to(draw_shards(num_samples=60, size_px=32, num_classes=3))
    (tmp_path / "val").symlink_to(draw_shards(num_samples=30, size_px=32, num_classes=3, split="val"))
    overrides = [*OVERRIDES, "training.epochs=1", "schedule.kind=linear", f"training.start_from={finished}"]
    train(tmp_path, tmp_path / "frozen", [*overrides, *(f"training.rates.conv{i}=0" for i in (1, 2, 3))])
    source, tuned = (load_file(sorted((folder / "checkpoints").iterdir())[-1] / "weights.safetensors")
                     for folder in (finished, tmp_path / "frozen"))  # fmt: skip
    assert all(torch.equal(tuned[name], source[name]) for name in source if name.startswith("conv"))
    assert tuned["fc10.weight"].shape[0] == 3 and source["fc10.weight"].shape[0] == 4


def test_a_network_that_only_guesses_is_diagnosed(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("alexkit.model.training.trainer.STALL_STEPS", 10)
    train(shards, tmp_path / "run", [*OVERRIDES, "training.rate=1e-9"])
    assert "for 10 steps the loss has been that of guessing" in caplog.text
    assert "hardly changes; network.init" in caplog.text
    assert caplog.text.count("guessing") == 1
