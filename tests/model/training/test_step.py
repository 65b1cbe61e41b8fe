"""Results that are read one step late, as on a GPU: the same numbers, and a step that is not finite changes nothing."""

import os
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from alexkit.model.network.tables import wiring
from alexkit.model.processes.layout import Layout
from alexkit.model.runs.load import load_recipe
from alexkit.model.training import trainer as trainer_module
from alexkit.model.training.interval import Interval
from alexkit.model.training.learner import Learner
from alexkit.model.training.step import StepResult, steps_late
from alexkit.pipeline import Batch

from .run_kit import OVERRIDES, SAVE_ALWAYS, Stopped, last_weights, newest_step, numbers, train, train_in_processes

CPU = torch.device("cpu")


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "steps_late", lambda device: 1)


def batch(number: int) -> Batch:
    generator = torch.Generator().manual_seed(number)
    return Batch(
        images=torch.randn(8, 3, 32, 32, generator=generator) * 60,
        labels=torch.arange(8) % 4,
        indices=torch.arange(8 * number, 8 * number + 8),
        mask=torch.ones(8, dtype=torch.bool),
        keys=[f"sample-{number}-{i}" for i in range(8)],
    )


def learner(precision: torch.dtype = torch.float32) -> Learner:
    recipe = load_recipe("cifar10-19", ["training.batch_size=8"])
    return Learner(recipe, wiring(recipe.network), 4, layout=Layout(1), device=CPU, precision=precision)


class Clock:
    """Replaces `StepClock`: begun and ended at these seconds."""

    def __init__(self, begun: float, ended: float) -> None:
        self.begun, self.ended = begun, ended

    def idle_s(self, before: "Clock") -> float:
        return self.begun - before.ended


def test_the_data_wait_of_a_gpu_is_its_idle_time_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("alexkit.model.training.interval.time.monotonic", lambda: now)
    interval, step = Interval(), StepResult(loss=1.0, wrong=0, images=4, gradient_norm=1.0)
    interval.wait_s = 9.0  # of the host, while the GPU computes
    for clock in (Clock(0.0, 3.0), Clock(3.5, 6.5), Clock(6.5, 9.5)):
        interval.add(step, clock)  # type: ignore[arg-type]
    now = 110.0
    assert interval.numbers()["wait_fraction"] == pytest.approx(0.05)
    interval.restart()
    interval.wait_s = 2.0
    interval.add(step)
    now = 120.0
    assert interval.numbers()["wait_fraction"] == pytest.approx(0.2)


def test_what_is_done_between_epochs_does_not_count_as_time_of_the_next_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("alexkit.model.training.interval.time.monotonic", lambda: now)
    interval, step = Interval(), StepResult(loss=1.0, wrong=0, images=4, gradient_norm=1.0)
    for begun in (100.0, 200.0):  # validated in between, from 104 to 200
        now = begun
        for _ in interval.timed([batch(0), batch(1)]):  # type: ignore[arg-type]
            now += 2.0
            interval.add(step)
        assert interval.numbers()["images_per_s"] == pytest.approx(2.0)
        interval.restart()


def test_a_gpus_results_are_read_one_step_late_and_a_cpus_at_once() -> None:
    assert steps_late(torch.device("cuda:0")) == 1 and steps_late(CPU) == 0


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_steps_begun_together_give_the_results_of_steps_made_one_by_one(precision: torch.dtype) -> None:
    together, one_by_one = learner(precision), learner(precision)
    begun = [together.begin_step(batch(step), 0.001) for step in range(3)]
    assert [step.result() for step in begun] == [one_by_one.train_step(batch(step), 0.001) for step in range(3)]
    theirs = one_by_one.whole_weights()
    assert all(torch.equal(x, theirs[name]) for name, x in together.whole_weights().items())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_a_step_that_is_not_finite_holds_back_those_begun_after_it(precision: torch.dtype) -> None:
    mine, plain = learner(precision), learner(precision)
    broken = batch(1)
    broken.images[3, 0, 0, 0] = float("nan")
    begun = [mine.begin_step(x, 0.001) for x in (batch(0), broken, batch(2))]
    begun[0].result()
    with pytest.raises(ValueError, match=r"step 1: .* not finite \(samples sample-1-0, .*\), so .* was not applied"):
        begun[1].result()
    plain.train_step(batch(0), 0.001)
    for number in (2, 3):  # what the weights are, and what they become
        for given in ("whole_weights", "whole_momentum"):
            theirs = getattr(plain, given)()
            assert all(torch.equal(x, theirs[name]) for name, x in getattr(mine, given)().items()), given
        assert (mine.step, mine.scale) == (plain.step, plain.scale) == (number - 1, plain.scale)
        assert mine.train_step(batch(number), 0.001) == plain.train_step(batch(number), 0.001)


def test_a_run_has_the_same_numbers_and_weights(shards: Path, finished: Path, tmp_path: Path, late: None) -> None:
    train(shards, tmp_path / "run")
    assert numbers(tmp_path / "run") == numbers(finished)
    assert last_weights(tmp_path / "run") == last_weights(finished)


def test_a_signal_saves_the_step_in_which_all_know_of_it(
    shards: Path, finished: Path, tmp_path: Path, late: None
) -> None:
    def interrupt(images: int, note: str) -> None:
        if images == 16 * 8:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path / "run", report=interrupt)
    assert newest_step(tmp_path / "run") == 10  # step 9 carries the request, and is read when step 10 has begun
    train(shards, tmp_path / "run")
    assert numbers(tmp_path / "run") == numbers(finished)
    assert last_weights(tmp_path / "run") == last_weights(finished)


def test_a_signal_to_one_process_saves_the_same_step_in_all(
    shards: Path, tmp_path: Path, start_script: Callable[..., BaseProcess]
) -> None:
    def run(name: str, **options: int) -> list[tuple[int | None, str]]:
        overrides = [*OVERRIDES, "training.epochs=2"]
        return train_in_processes(start_script, tmp_path / name, 2, shards=shards, overrides=overrides, **options)

    assert run("whole") == [(0, "")] * 2
    stopped = run("run", late=1, stop_after=8)
    assert all(words.rstrip().endswith("KeyboardInterrupt") for _, words in stopped), stopped
    assert newest_step(tmp_path / "run") == 10
    assert run("run", late=1) == [(0, "")] * 2
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")
    assert last_weights(tmp_path / "run") == last_weights(tmp_path / "whole")


def test_a_checkpoint_that_one_process_cannot_read_is_resumed_by_none(
    shards: Path, tmp_path: Path, start_script: Callable[..., BaseProcess]
) -> None:
    def stop(images: int, note: str) -> None:
        if images == 16 * 3:
            raise Stopped

    with pytest.raises(Stopped):
        train(shards, tmp_path / "run", SAVE_ALWAYS, report=stop)
    newest = newest_step(tmp_path / "run")
    ended = train_in_processes(
        start_script, tmp_path / "run", 2, shards=shards, overrides=SAVE_ALWAYS, unreadable=f"step-{newest:08d}"
    )
    assert all("the processes of this run differ in newest undamaged checkpoint" in words for _, words in ended), ended
    assert newest_step(tmp_path / "run") == newest


def test_a_change_and_a_checkpoint_wait_for_all_results(shards: Path, tmp_path: Path, late: None) -> None:
    changes = "training.changes=[{epoch=2, jitter='off'}]"
    train(shards, tmp_path / "late", [*SAVE_ALWAYS, changes])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "steps_late", steps_late)
        train(shards, tmp_path / "at-once", [*OVERRIDES, changes])
    assert numbers(tmp_path / "late") == numbers(tmp_path / "at-once")
    assert last_weights(tmp_path / "late") == last_weights(tmp_path / "at-once")


def test_a_loss_that_is_not_finite_stops_the_run_naming_its_step(
    shards: Path, tmp_path: Path, late: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Learner.begin_step

    def break_one(self: Learner, batch: Batch, *args: float, **options: int | None) -> object:
        if self.step == 8:
            batch.images[0] = float("nan")
        return whole(self, batch, *args, **options)

    monkeypatch.setattr(Learner, "begin_step", break_one)
    with pytest.raises(ValueError, match="step 8: the loss or a gradient is not finite"):
        train(shards, tmp_path / "run", SAVE_ALWAYS)
    assert newest_step(tmp_path / "run") == 8


def test_of_several_steps_that_are_not_finite_the_first_is_where_training_continues() -> None:
    mine, broken = learner(), batch(1)
    broken.images[0] = float("nan")
    begun = [mine.begin_step(x, 0.001) for x in (batch(0), broken, broken)]
    begun[0].result()
    for step in begun[1:]:
        with pytest.raises(ValueError, match=f"step {step.number}: .* not applied"):
            step.result()
        assert mine.step == 1
