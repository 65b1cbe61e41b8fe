"""Training: one recipe on one shard set into one run folder, started, continued or found finished.

Everything random is a function of the recipe's seed and of the position, so a run that was killed and continued on the
same machine gives the same numbers, bit for bit, as one that was not.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.nn import functional as F

from ..pipeline import Batch, CentreCrop, Loader, TrainAugment
from .checkpoint import newest_checkpoint, save_checkpoint
from .evaluate import Score, evaluate
from .layers import MaskKey
from .log import RunLog
from .network import Network
from .plots import draw_curves, draw_filters
from .precision import choose_device, choose_precision
from .recipe import Recipe
from .run import CHECKPOINTS, DataIdentity, Run
from .schedule import Plateau
from .update import MomentumUpdate, Pace
from .wiring import wiring

Report = Callable[[int, str], None]

LOG_EVERY_STEPS = 20
SECONDS_BETWEEN_PLOTS = 60.0


class Trainer:
    """Builds everything a run needs and goes to its newest checkpoint; `run` then trains to the end.

    `shards` is the folder that holds `train/` and `val/`. Raises ValueError, before any training, for what does not
    fit: recipe and data, run folder and data, run folder and recipe.
    """

    def __init__(self, recipe: Recipe, shards: Path, folder: Path, *, device: str = "auto") -> None:
        self.recipe, self.shards = recipe, shards
        self.device = choose_device(device)
        self.precision = choose_precision(recipe.training.precision, self.device)
        data, training = recipe.data, recipe.training
        table = wiring(recipe.network)
        if table.input_px != data.crop:
            raise ValueError(f"data.crop is {data.crop} px, but the network reads {table.input_px} px; make them equal")
        self.loader = self._loader("train", TrainAugment(
            crop=data.crop, flip=data.flip, jitter=data.jitter, mean=data.mean, crop_draw=data.crop_draw
        ))  # fmt: skip
        self.validation = self._loader("val", CentreCrop(crop=data.crop, mean=data.mean, mean_from=shards / "train"))
        ids = [[entry.id for entry in loader.shard_set.manifest.classes] for loader in (self.loader, self.validation)]
        if ids[0] != ids[1]:
            raise ValueError(f"{shards}: train and val have different classes; shard them again from one source")
        self.network = Network(table, self.loader.num_classes, seed=training.seed).to(self.device)
        self.update = MomentumUpdate(self.network, paces(recipe, self.network), training.momentum)
        self.run_folder = Run.start_or_continue(folder, recipe, DataIdentity.of(self.loader.shard_set.manifest))
        self.step, self.plateau, self.rate = 0, Plateau(), training.rate  # rate: of the last step
        self.best = (1.0, 0)  # validation error and its step
        self.score: Score | None = None
        self.drawn = time.monotonic()
        self._continue()

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe.training.epochs * len(self.loader)

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.step // len(self.loader)

    def run(self, report: Report | None = None) -> dict[str, Any]:
        """Train until the last epoch and return the result, which is also left in the run folder.

        `report` is called after every step with the images seen so far and a line of numbers. SIGTERM or Ctrl-C ends
        with a checkpoint of the step it came in, and KeyboardInterrupt.
        """
        if self.run_folder.result:
            return self.run_folder.result
        training, num_steps = self.recipe.training, len(self.loader)
        last_saved = time.monotonic()
        with RunLog(self.run_folder.folder, self.step) as log, stop_requests() as stop:
            while self.epoch < training.epochs:
                interval = Interval()
                for batch in interval.timed(self.loader):
                    interval.add(*self.train_step(batch), len(batch.labels))
                    if report:
                        report(self.step * training.batch_size, interval.note())
                    at_end = self.step % num_steps == 0
                    if at_end or self.step % LOG_EVERY_STEPS == 0:
                        log.write("train", self.step, rate=self.rate, **interval.numbers())
                        interval.restart()
                    if not at_end and (
                        stop.is_set() or time.monotonic() - last_saved > 60 * training.checkpoint_minutes
                    ):
                        self.save()
                        last_saved = time.monotonic()
                    if stop.is_set() and not at_end:
                        raise KeyboardInterrupt
                if self.epoch % training.validate_every == 0 or self.epoch == training.epochs:
                    self._validate(log)
                self.save()
                last_saved = time.monotonic()
                self._draw()
                if stop.is_set() and self.epoch < training.epochs:
                    raise KeyboardInterrupt
        score = self.score or evaluate(self.network, self.validation, self.precision)
        result = {"epochs": training.epochs, "steps": self.step, "images": score.num_images, **rates(score)}
        result["best_top1_error"] = self.best[0]
        self.run_folder.finish(result)
        return result

    def train_step(self, batch: Batch) -> tuple[float, int]:
        """One update from one batch; returns the mean loss and the number of wrong first guesses.

        Raises ValueError, leaving weights as they were, when the loss or a gradient is not finite.
        """
        training = self.recipe.training
        self.network.train()
        for parameter in self.network.parameters():
            parameter.grad = None
        loss_sum, wrong = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        part_size = len(batch.labels) // training.accumulate
        for part in range(training.accumulate):
            rows = slice(part * part_size, (part + 1) * part_size)
            masks = MaskKey(seed=training.seed, step=self.step, indices_N=batch.indices[rows])
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                logits = self.network(batch.images[rows], masks)
            loss = F.cross_entropy(logits.float(), batch.labels[rows], reduction="sum") / len(batch.labels)
            loss.backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.detach()
            wrong += (logits.detach().argmax(1) != batch.labels[rows]).sum()
        self._require_finite(float(loss_sum), batch)
        self.rate = training.rate * self.rate_factor()
        self.update.apply(self.rate)
        self.step += 1
        return float(loss_sum), int(wrong)

    def rate_factor(self) -> float:
        """What the schedule multiplies the starting rate by at this step."""
        return self.recipe.schedule.factor(
            epoch=self.step / len(self.loader), epochs=self.recipe.training.epochs, drops=self.plateau.drops
        )

    def save(self) -> None:
        """Write a checkpoint of this very step."""
        state = {
            "loader": self.loader.state_dict(),
            "plateau": asdict(self.plateau),
            "best": list(self.best),
        }
        save_checkpoint(
            self.run_folder.folder / CHECKPOINTS,
            self.step,
            dict(self.network.named_parameters()),
            self.update.velocities,
            state,
            keep=self.best[1],
        )

    def close(self) -> None:
        """Release the loaders' threads and files."""
        self.loader.close()
        self.validation.close()

    def _loader(self, split: str, augment: TrainAugment | CentreCrop) -> Loader:
        return Loader(
            self.shards / split,
            batch_size=self.recipe.training.batch_size,
            augment=augment,
            device=str(self.device),
            seed=self.recipe.training.seed,
            order=self.recipe.data.order,
            channels_last=True,
        )

    def _continue(self) -> None:
        checkpoint = newest_checkpoint(self.run_folder.folder / CHECKPOINTS)
        if checkpoint is None:
            return
        with torch.no_grad():
            for tensors, saved in (
                (dict(self.network.named_parameters()), checkpoint.weights()),
                (self.update.velocities, checkpoint.velocities()),
            ):
                for name, tensor in tensors.items():
                    tensor.copy_(saved[name])
        self.step = checkpoint.step
        self.plateau = Plateau(**checkpoint.state["plateau"])
        error, step = checkpoint.state["best"]
        self.best = (float(error), int(step))
        self.loader.load_state_dict(checkpoint.state["loader"])

    def _validate(self, log: RunLog) -> None:
        self.score = evaluate(self.network, self.validation, self.precision)
        self.plateau = self.plateau.after(self.score.top1_error, self.recipe.schedule)
        if self.score.top1_error < self.best[0]:
            self.best = (self.score.top1_error, self.step)
        log.write("val", self.step, epoch=self.epoch, **rates(self.score))

    def _require_finite(self, loss: float, batch: Batch) -> None:
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        norm = float(torch.stack(torch._foreach_norm(gradients)).norm())
        if not (isfinite(loss) and isfinite(norm)):
            what = "loss" if not isfinite(loss) else "gradient"
            keys = ", ".join(batch.keys[:4])
            raise ValueError(
                f"{self.run_folder.folder}: the {what} of step {self.step} is not finite (samples {keys}, …); "
                "the step was not applied: lower training.rate, or change the initialisation"
            )

    def _draw(self) -> None:
        if time.monotonic() - self.drawn > SECONDS_BETWEEN_PLOTS or self.epoch == self.recipe.training.epochs:
            draw_curves(self.run_folder.folder, len(self.loader))
            draw_filters(self.run_folder.folder, self.network)
            self.drawn = time.monotonic()


class Interval:
    """Sums over the steps since the last log line, and where their time went."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
        self.loss_sum, self.wrong, self.images, self.steps = 0.0, 0, 0, 0
        self.wait_s, self.start = 0.0, time.monotonic()

    def timed(self, loader: Loader) -> Iterator[Batch]:
        """The loader's batches; the time spent waiting for them is counted."""
        batches = iter(loader)
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self.wait_s += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def add(self, loss: float, wrong: int, images: int) -> None:
        """Count one step."""
        self.loss_sum += loss
        self.wrong += wrong
        self.images += images
        self.steps += 1

    def numbers(self) -> dict[str, float]:
        """Mean loss, error rate of the first guess, images/s and the share of time spent waiting for data."""
        seconds = max(time.monotonic() - self.start, 1e-9)
        return {
            "loss": self.loss_sum / self.steps,
            "top1_error": self.wrong / self.images,
            "images_per_s": self.images / seconds,
            "wait_share": self.wait_s / seconds,
        }

    def note(self) -> str:
        """The numbers for a progress line."""
        n = self.numbers()
        return f"loss {n['loss']:.3f}, error {n['top1_error']:.1%}, data wait {n['wait_share']:.0%}"


def paces(recipe: Recipe, network: Network) -> dict[str, Pace]:
    """Every parameter's factor on the rate, and its decay: the table's where it names one, else the recipe's."""
    training, result = recipe.training, {}
    for row in network.wiring.rows:
        decay = training.weight_decay if row.decay is None else row.decay
        result[f"{row.name}.weight"] = Pace(rate=row.rate, decay=decay)
        bias_decay = decay if training.decay_biases else 0.0
        result[f"{row.name}.bias"] = Pace(rate=row.rate * training.bias_rate, decay=bias_decay)
    return result


def rates(score: Score) -> dict[str, float]:
    """A score as plain numbers for logs and results."""
    return {"loss": score.loss, "top1_error": score.top1_error, "top5_error": score.top5_error}


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that SIGTERM or Ctrl-C sets, so that a step is never cut in two; a second Ctrl-C ends at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may catch signals
        return

    def request(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
