"""Training: one recipe on one shard set into one run folder, started, continued or found finished.

Everything random is a function of the recipe's seed and of the position, so a run that was killed and continued on the
same machine gives the same numbers, bit for bit, as one that was not.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, cast

from ...cores import num_cores
from ...errors import InputError
from ...pipeline import Batch, CenterCrop, Loader, Mean, TrainAugment
from ..evaluation.figures import draw_curves, draw_filters
from ..evaluation.scores import Score, predict, score
from ..network.precision import LossScale, choose_precision, use_device
from ..network.wiring import wiring
from ..processes.layout import make_layout
from ..processes.stopping import stop_requests
from ..runs.checkpoint import newest_checkpoint, save_checkpoint
from ..runs.log import Interval, RunLog
from ..runs.recipe import Recipe
from ..runs.run import CHECKPOINTS, Run
from ..runs.schedule import Plateau
from ..runs.weights import for_fine_tuning, read_weights
from .diagnosis import STALL_STEPS, dead_shares, diagnose, is_guessing
from .learner import Learner

logger = logging.getLogger(__name__)
Report = Callable[[int, str], None]

LOG_EVERY_STEPS = 20
SECONDS_BETWEEN_PLOTS = 60.0


class Trainer:
    """Builds everything a run needs and goes to its newest checkpoint; `run` then trains to the end.

    `shards` is the folder that holds `train/` and `val/`. Raises InputError, before any training, for what does not
    fit: recipe and data, run folder and data, run folder and recipe.
    """

    def __init__(
        self, recipe: Recipe, shards: Path, folder: Path, *, device: str = "auto", processes_per_network: int = 1
    ) -> None:
        self.recipe, self.shards = recipe, shards
        self.device = use_device(device)
        self.precision = choose_precision(recipe.training.precision, self.device)
        data, table = recipe.data, wiring(recipe.network)
        if table.input_px != data.crop:
            raise InputError(f"data.crop is {data.crop} px, but the network reads {table.input_px} px; make them equal")
        self.layout = make_layout(table.columns, processes_per_network, self.device)
        self.augment = data.augment()
        self.loader = self._loader("train", self.augment)
        self.validation = self._loader(
            "val", CenterCrop(crop=data.crop, mean=cast(Mean, data.mean), mean_from=shards / "train")
        )
        ids = [[entry.id for entry in loader.shard_set.manifest.classes] for loader in (self.loader, self.validation)]
        if ids[0] != ids[1]:
            raise InputError(f"{shards}: train and val have different classes; shard them again from one source")
        self.run_folder = self._open_run(folder)
        self.learner = Learner(
            recipe, table, self.loader.num_classes, layout=self.layout, device=self.device, precision=self.precision
        )
        self.plateau, self.best = Plateau(), (1.0, 0)  # best: validation error and its step
        self.validated = 0  # the last epoch whose validation is done
        self.last_validation: dict[str, float] = {}
        self.interval = Interval()
        self.guessed_since = 0  # the last step whose loss was better than guessing
        self.saved = self.drawn = time.monotonic()
        self._continue()

    @property
    def step(self) -> int:
        """Finished steps."""
        return self.learner.step

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
        training = self.recipe.training
        with self.layout.contact(), self._log() as log, stop_requests() as stop:
            while self.epoch < training.epochs or self.validated < training.epochs:
                if self.validated < self.epoch:
                    self._validate(log, stop)
                    self.save()
                    self._draw()
                else:
                    self._train_epoch(log, stop, report)
        result = {"epochs": training.epochs, "steps": self.step, **self.last_validation}
        result["best_top1_error"] = self.best[0]
        if self.layout.rank == 0:
            self.run_folder.finish(result)
        return result

    def _train_epoch(self, log: RunLog, stop: threading.Event, report: Report | None) -> None:
        """Train to the end of the epoch, from wherever it stands."""
        training, interval, note = self.recipe.training, self.interval, ""
        self._begin_epoch()
        for batch in interval.timed(self.loader):
            rate = training.rate * self.rate_factor()
            due = time.monotonic() - self.saved > 60 * training.checkpoint_minutes
            result = self.learner.train_step(batch, rate, save=due, stop=stop.is_set())
            interval.add(result)
            at_end = self.step % len(self.loader) == 0
            if at_end or self.step % LOG_EVERY_STEPS == 0:
                numbers = interval.numbers()
                if at_end:
                    numbers["dead_share"] = max(dead_shares(self.learner, batch.images).values(), default=0.0)
                self._watch_for_stall(numbers["loss"], batch)
                log.write("train", self.step, rate=rate, **numbers)
                note = "loss {loss:.3f}, error {top1_error:.1%}, data wait {wait_share:.0%}".format(**numbers)
                interval.restart()
            if report:
                report(self.step * training.batch_size, note)
            if result.stop or (result.save and not at_end):
                self.save()
            if result.stop:
                raise KeyboardInterrupt

    def _begin_epoch(self) -> None:
        """Put the changes that the recipe has for this epoch into force."""
        self.learner.begin_epoch(self.epoch)
        augment = self.recipe.at(self.epoch).data.augment()
        if augment != self.augment:
            # The old loader has begun this epoch's first batches, with the old augmentation.
            state = self.loader.state_dict()
            self.loader.close()
            self.augment, self.loader = augment, self._loader("train", augment)
            self.loader.load_state_dict(state)

    def rate_factor(self) -> float:
        """What the schedule multiplies the starting rate by at this step."""
        return self.recipe.schedule.factor(
            epoch=self.step / len(self.loader), epochs=self.recipe.training.epochs, drops=self.plateau.drops
        )

    def save(self) -> None:
        """Write a checkpoint of this very step; all processes must call."""
        state = {
            "loader": self.loader.state_dict(),
            "plateau": asdict(self.plateau),
            "best": self.best,
            "validated": self.validated,
            "last_validation": self.last_validation,
            "interval": self.interval.sums(),
            "loss_scale": asdict(self.learner.scale),
        }
        if self.layout.replica == 0:
            weights, velocities = self.learner.whole_weights(), self.learner.whole_velocities()
            self.kernels = weights[f"{self.learner.network.wiring.rows[0].name}.weight"]
            if self.layout.rank == 0:
                folder = self.run_folder.folder / CHECKPOINTS
                save_checkpoint(folder, self.step, weights, velocities, state, keep=self.best[1])
        self.saved = time.monotonic()

    def close(self) -> None:
        """Release the loaders' threads and files, and leave the other processes."""
        self.loader.close()
        self.validation.close()
        self.layout.close()

    def _loader(self, split: str, augment: TrainAugment | CenterCrop) -> Loader:
        num_replicas = self.layout.num_replicas
        batch_size, rest = divmod(self.recipe.training.batch_size, num_replicas)
        if rest:
            raise InputError(
                f"training.batch_size {self.recipe.training.batch_size} cannot be dealt to {num_replicas} replicas; "
                f"choose a multiple of {num_replicas}"
            )
        return Loader(
            self.shards / split,
            batch_size=batch_size,
            augment=augment,
            device=str(self.device),
            seed=self.recipe.training.seed,
            replica=self.layout.replica,
            num_replicas=num_replicas,
            order=self.recipe.data.order,
            channels_last=True,
            num_threads=max(num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1),
        )

    def _open_run(self, folder: Path) -> Run:
        with self.layout.contact():
            if self.layout.rank == 0:
                run = Run.start_or_continue(folder, self.recipe, self.loader.shard_set)
            self.layout.add([0])  # the others wait until the folder is there
        return run if self.layout.rank == 0 else Run.open(folder)

    def _log(self) -> RunLog:
        return RunLog(self.run_folder.folder if self.layout.rank == 0 else None, self.step)

    def _continue(self) -> None:
        checkpoint = newest_checkpoint(self.run_folder.folder / CHECKPOINTS)
        start = self.recipe.training.start_from
        if checkpoint is None:
            if start:
                last = self.learner.network.wiring.rows[-1].name
                with self.layout.contact():
                    own = self.learner.whole_weights()
                self.learner.load(for_fine_tuning(read_weights(Path(start)), own, last, start), None)
            return
        self.learner.load(checkpoint.weights(), checkpoint.velocities())
        self.learner.step, state = checkpoint.step, checkpoint.state
        self.learner.scale = LossScale(**state["loss_scale"])
        self.plateau = Plateau(**state["plateau"])
        self.best = (float(state["best"][0]), int(state["best"][1]))
        self.validated, self.last_validation = int(state["validated"]), dict(state["last_validation"])
        self.interval.restart(state["interval"])
        self.loader.load_state_dict(state["loader"])

    def _validate(self, log: RunLog, stop: threading.Event) -> None:
        """Evaluate the network of this epoch, where one is due, and let the schedule draw its conclusion."""
        training = self.recipe.training
        if self.epoch % training.validate_every == 0 or self.epoch == training.epochs:
            mine = Score()
            for batch, probabilities in predict(self.learner.network, self.validation, self.precision):
                mine = mine + score(probabilities[batch.mask], batch.labels[batch.mask])
                if self.layout.add([stop.is_set()])[0]:
                    self.save()
                    raise KeyboardInterrupt
            # The processes of a replica have all scored its images.
            sums = [x / self.layout.num_parts for x in self.layout.add(astuple(mine))]
            images, wrong_1, wrong_5 = map(round, sums[:3])
            total = Score(num_images=images, wrong_1=wrong_1, wrong_5=wrong_5, loss_sum=sums[3])
            self.plateau = self.plateau.after(total.top1_error, self.recipe.schedule)
            if total.top1_error < self.best[0]:
                self.best = (total.top1_error, self.step)
            self.last_validation = {"images": total.num_images, **total.rates()}
            log.write("val", self.step, epoch=self.epoch, **total.rates())
        self.validated = self.epoch

    def _watch_for_stall(self, loss: float, batch: Batch) -> None:
        """Say once, with the likely reasons, when nothing has been learned for long."""
        if not is_guessing(loss, self.loader.num_classes):
            self.guessed_since = self.step
        elif self.step - self.guessed_since >= STALL_STEPS:
            self.guessed_since = sys.maxsize
            with self.layout.contact():
                reasons = "; ".join(diagnose(self.learner, batch))
            if self.layout.rank == 0:
                words = "step %d: for %d steps the loss has been that of guessing: %s"
                logger.warning(words, self.step, STALL_STEPS, reasons)

    def _draw(self) -> None:
        due = time.monotonic() - self.drawn > SECONDS_BETWEEN_PLOTS or self.epoch == self.recipe.training.epochs
        if self.layout.rank == 0 and due:
            draw_curves(self.run_folder.folder, len(self.loader))
            draw_filters(self.run_folder.folder, self.kernels.numpy(), self.layout.columns.number)
            self.drawn = time.monotonic()
