"""Training: one recipe on one shard set, in one run folder that is started, resumed or already finished.

Everything random is a function of the recipe's seed and of the position, so a run that was killed and resumed on the
same machine gives the same numbers, bit for bit, as one that was not. Tests verify this on a CPU. On a GPU the same
algorithms are chosen every time; `tests/model/gpu/test_on_gpu.py` would verify it.
"""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...pipeline import Batch, Loader
from ..evaluation.figures import draw_curves, draw_filters
from ..evaluation.forward import predict
from ..evaluation.scores import Score, score
from ..network.precision import precision_name, use_device, use_precision
from ..network.tables import wiring
from ..processes.layout import Request, make_layout
from ..processes.stopping import StopRequest, stop_requests
from ..runs.checkpoint import newest_checkpoint, require_room, save_checkpoint
from ..runs.lock import RunLock
from ..runs.log import RunLog
from ..runs.progress import Best, Progress, Validation
from ..runs.provenance import record_start
from ..runs.recipe import Recipe, RecipeChange
from ..runs.run import CHECKPOINTS, Run
from ..runs.weights import find_start, for_fine_tuning, read_weights, require_network
from .calendar import calendar_of
from .diagnosis import STALL_STEPS, dead_fractions, diagnose
from .facts import agreed_checkpoint, run_facts
from .interval import Interval
from .learner import begin_learner
from .run_data import RunData, require_validation
from .step import PendingStep, PendingSteps, steps_late

logger = logging.getLogger(__name__)
Report = Callable[[int, str], None]

LOG_EVERY_STEPS = 20
SECONDS_BETWEEN_PLOTS = 60.0


class Trainer:
    """Builds everything a run needs and loads its newest checkpoint; `run` then trains to the end.

    Args:
        recipe: What to train, and how.
        shards: Folder that holds `train/` and the split to validate on.
        folder: The run folder, owned by this process until `close`; an existing run is resumed.
        device: `auto`, `cpu` or `cuda:N`.
        processes_per_replica: 1, or one per column; see `make_layout`.
        change: Change the recipe of an existing run from its current step on; see `Run.start_or_resume`.
        restart: Discard what the run folder holds and start over.
        history: Changes that a new run makes at given steps; see `alexkit.model.runs.load.load_start`.

    Raises InputError, before any training, if the recipe does not fit the data, the run folder holds a run on other
    data or with another recipe, another process owns the run folder, or the processes were started differently.
    """

    def __init__(
        self,
        recipe: Recipe,
        shards: Path,
        folder: Path,
        *,
        device: str = "auto",
        processes_per_replica: int = 1,
        change: bool = False,
        restart: bool = False,
        history: tuple[RecipeChange, ...] = (),
    ) -> None:
        # The typed recipe starts the run or matches its own; in effect is the recipe with all changes made since.
        typed, recipe = recipe, recipe if change or restart else Run.recipe_to_resume(folder, recipe)
        self.recipe = recipe
        self.device = use_device(device)
        self.precision = use_precision(recipe.training.precision, self.device)
        crop, table = recipe.data.crop, wiring(recipe.network)
        if table.input_px != crop:
            raise InputError(
                f"data.crop is {crop} px, but the network {recipe.network.kind} reads {table.input_px} px; use --set "
                f"data.crop={table.input_px}, or choose another network.kind or network.input"
            )
        split = require_validation(recipe, shards)
        self.calendar = calendar_of(recipe, shards)
        with ExitStack() as stack:  # a refused start leaves nothing open
            facts = run_facts(typed, shards, split, folder, self.precision)
            self.layout = make_layout(table.columns, processes_per_replica, self.device, facts)
            stack.callback(self.layout.close)
            if self.layout.rank == 0:
                stack.callback(RunLock(folder).release)
            learner = begin_learner(recipe, table, shards / "train", self.layout, self.device, self.precision)
            self.data = RunData(
                recipe, split, shards=shards, calendar=self.calendar, layout=self.layout, device=self.device
            )
            stack.callback(self.data.close)
            self.run_folder = self._open_run(folder, typed, change=change, restart=restart, history=history)
            self.learner = learner()
            self.progress = Progress(loss_scale=self.learner.scale)
            self.interval = Interval()
            self.train_loss: float | None = None  # from the last log line, for the summary of an epoch
            self.validated_now = False
            self.saved = self.drawn = time.monotonic()
            self._resume()
            self.saved_step = self.step  # of the newest checkpoint; 0 if there is none
            self._follow_recipe()
            self._resources = stack.pop_all()

    @property
    def step(self) -> int:
        """Finished steps."""
        return self.learner.step

    @property
    def num_steps(self) -> int:
        """Steps in the whole run."""
        return self.calendar.step_at(self.num_epochs)

    @property
    def num_epochs(self) -> int:
        """Epochs in the whole run, including those added by a change whose step has not been reached yet."""
        return self.run_folder.recipe_at().training.epochs

    @property
    def loader(self) -> Loader:
        """The loader of the training batches."""
        return self.data.loader

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.calendar.finished(self.step)

    def run(self, report: Report | None = None, on_epoch: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Train to the last epoch and return the result, which is also written to the run folder.

        `report` is called after every step with the number of images seen so far and a line of numbers, `on_epoch`
        after every epoch with a line that summarizes it. After SIGTERM, SIGHUP or Ctrl-C, the current step is finished
        (on a GPU also the next one, already begun), a checkpoint is saved, and KeyboardInterrupt is raised; a second
        signal, after five seconds, raises it at once, without saving.
        """
        if self.run_folder.result:
            return self.run_folder.result
        if self.layout.rank == 0:
            num_parameters = sum(layer.weights + layer.biases for layer in self.learner.network.sizes)
            require_room(self.run_folder.folder / CHECKPOINTS, num_parameters)
            record_start(
                self.run_folder.folder,
                step=self.step,
                device=str(self.device),
                precision=precision_name(self.recipe.training.precision, self.precision),
                processes=self.layout.num_replicas * self.layout.processes_per_replica,
            )
        with self.layout.contact(), self._log() as log, stop_requests() as stop:
            while self._follow_recipe() or self.progress.validated < self.epoch:
                if self.progress.validated < self.epoch:
                    self._finish_epoch(log, stop)
                    if on_epoch:
                        on_epoch(self._epoch_line())
                else:
                    self._train_epoch(log, stop, report)
        result: dict[str, Any] = {"epochs": self.epoch, "steps": self.step}
        if self.progress.last_validation is not None:
            result |= self.progress.last_validation.to_json()
        if self.progress.best is not None:
            result["best_top1_error"] = self.progress.best.error
        if self.layout.rank == 0:
            self.run_folder.finish(result)
        return result

    def _epoch_line(self) -> str:
        """A summary of the finished epoch: training loss at its end and, if it was validated, errors in percent."""
        words = [f"epoch {self.epoch}/{self.num_epochs}"]
        if self.train_loss is not None:
            words.append(f"train loss {self.train_loss:.2f}")
        last, best = self.progress.last_validation, self.progress.best
        if last is not None and best is not None and self.validated_now:
            words.append(f"val top-1 error {last.rates['top1_error']:.1%}")
            words[-1] += f" (best {best.error:.1%} at {self.calendar.finished(best.step)})"
            if "top5_error" in last.rates:
                words.append(f"top-5 {last.rates['top5_error']:.1%}")
        if self._learned_enough:
            enough = self.recipe.training.stop_at_train_error
            error = self.progress.epoch_wrong / self.progress.epoch_images
            words.append(f"training error {error:.1%} is at most {enough:.1%}: stopping")
        return "  ".join(words)

    def _train_epoch(self, log: RunLog, stop: StopRequest, report: Report | None) -> None:
        """Train from the current step to the end of the epoch, or to the next change made by hand."""
        training, interval, note = self.recipe.training, self.interval, ""
        pending = PendingSteps(steps_late(self.device))
        change = self.run_folder.next_change(self.step)
        if self.calendar.within(self.step) == 0:
            self.progress = replace(self.progress, epoch_wrong=0, epoch_images=0)
        for batch in interval.timed(self.loader):
            if time.monotonic() - self.saved > 60 * training.checkpoint_minutes:
                self.layout.request("save")
            if stop.is_set():
                self.layout.request("stop")
            epoch = self.calendar.epoch(self.step)
            rate = self.rate(epoch)
            begun = self.learner.begin_step(batch, rate, epoch, num_images=self._images_of_short_batch())
            at_end = self.calendar.within(self.step) == 0
            logged = at_end or self.step % LOG_EVERY_STEPS == 0
            requests = self._read(pending.add(begun, read_all=logged or self.step == change))
            if requests:  # they hold for all processes at the same step
                requests |= self._read(pending.rest())
            if logged:
                numbers = interval.numbers()
                self.train_loss = numbers["loss"]
                self.progress = self.progress.counted(interval.sums)
                if at_end:
                    dead = dead_fractions(self.learner, batch.images)
                    numbers["dead_fraction"] = max(dead.values(), default=0.0)
                self._watch_for_stall(numbers, batch)
                shown = self.learner.shown_rate(rate, epoch)
                log.write("train", self.step, epoch=self.calendar.epoch(self.step), rate=shown, **numbers)
                note = "loss {loss:.3f}, error {top1_error:.1%}, data wait {wait_fraction:.0%}".format(**numbers)
                interval.restart()
            if report:
                report(self.step * training.batch_size, note)
            if "stop" in requests or ("save" in requests and not at_end):
                self.save()
            if "stop" in requests:
                raise KeyboardInterrupt
            if self.step == change:
                return

    def _read(self, steps: list[PendingStep]) -> set[Request]:
        """Count the results of these steps; return the requests of all processes up to there."""
        for step in steps:
            self.interval.add(step.result(), step.clock)
        return self.layout.agreed_requests()

    def _images_of_short_batch(self) -> int | None:
        """Images in the next global batch if it is the short last one of an epoch, otherwise None."""
        done = self.calendar.within(self.step) * self.recipe.training.batch_size
        left = self.loader.num_samples - done
        return left if left < self.recipe.training.batch_size else None

    def _follow_recipe(self) -> bool:
        """Apply the recipe in effect at this step; return whether there are more epochs to train."""
        recipe = self.run_folder.recipe_at(self.step)
        if recipe != self.recipe:
            self.recipe = recipe
            self.learner.follow(recipe)
        self.data.follow(recipe, self.step)
        return self.epoch < self.recipe.training.epochs and not self._learned_enough

    @property
    def _learned_enough(self) -> bool:
        """Whether the training error of the finished epoch ends the run."""
        enough, seen = self.recipe.training.stop_at_train_error, self.progress
        if enough is None or not seen.epoch_images or self.calendar.within(self.step):
            return False
        return seen.epoch_wrong <= enough * seen.epoch_images

    def rate(self, epoch: float) -> float:
        """The run's learning rate at the fractional `epoch`."""
        training = self.recipe.training
        drops = self.progress.plateau.drops
        return training.rate * self.recipe.schedule.factor(epoch=epoch, epochs=training.epochs, drops=drops)

    def save(self) -> None:
        """Write a checkpoint of the current step; all processes must call this."""
        self.progress = replace(self.progress, interval=self.interval.sums, loss_scale=self.learner.scale)
        if self.layout.replica == 0:
            weights, momentum = self.learner.whole_weights(), self.learner.whole_momentum()
            if self.layout.rank == 0:
                best = self.progress.best
                save_checkpoint(
                    self.run_folder.folder / CHECKPOINTS,
                    self.step,
                    weights,
                    momentum,
                    {"progress": self.progress.to_json(), "loader": self.loader.state_dict()},
                    keep=None if best is None else best.step,
                )
        # A process that stops earlier would make its launcher end the one that still writes.
        self.layout.barrier()
        self.saved, self.saved_step = time.monotonic(), self.step

    def close(self) -> None:
        """Close the loaders, release the run folder, and leave the process group."""
        self._resources.close()

    def _open_run(self, folder: Path, recipe: Recipe, **options: Any) -> Run:
        with self.layout.contact():
            if self.layout.rank == 0:
                run = Run.start_or_resume(folder, recipe, self.loader.shard_set, **options)
            self.layout.barrier()  # the others wait until the folder exists
        return run if self.layout.rank == 0 else Run.open(folder)

    def _log(self) -> RunLog:
        return RunLog(
            self.run_folder.folder if self.layout.rank == 0 else None,
            self.step,
            writers=self.recipe.training.log,
            config=self.recipe.to_json(),
        )

    def _resume(self) -> None:
        checkpoint = agreed_checkpoint(self.run_folder.folder / CHECKPOINTS, self.layout)
        training = self.recipe.training
        if checkpoint is None:
            if training.start_from:
                start = find_start(training.start_from, self.run_folder.folder.parent)
                require_network(start, self.recipe.network)
                layers = [layer.name for layer in self.learner.network.wiring.layers[:-1]]
                with self.layout.contact():
                    own = self.learner.whole_weights()
                weights = for_fine_tuning(read_weights(start), own, training.start_layers or layers, str(start))
                self.learner.load(weights, None)
            return
        self.learner.load(checkpoint.weights(), checkpoint.momentum())
        self.progress = Progress.from_json(checkpoint.state.get("progress"), where=str(checkpoint.folder))
        self.learner.step, self.learner.scale = checkpoint.step, self.progress.loss_scale
        self.interval = Interval(self.progress.interval)
        self._follow_recipe()  # opens the loader of this phase, at the start of the phase
        if self.step != self.calendar.of_step(self.step).step:
            self.loader.load_state_dict(checkpoint.state.get("loader", {}))

    def _finish_epoch(self, log: RunLog, stop: StopRequest) -> None:
        """Validate the network if due, save a checkpoint, and draw the pictures."""
        training = self.recipe.training
        last = self.epoch == training.epochs or self._learned_enough
        due = last or self.epoch % training.validate_every == 0
        self.validated_now = self.data.validation is not None and due
        if self.data.validation is not None and due:
            self._validate(self.data.validation, log, stop)
        self.progress = replace(self.progress, validated=self.epoch)
        self.save()
        self._draw(log, last)

    def _validate(self, loader: Loader, log: RunLog, stop: StopRequest) -> None:
        """Score the validation split and update the schedule and the best result."""
        mine = Score()
        for batch, probabilities in predict(self.learner.network, loader, self.precision):
            mine = mine + score(probabilities[batch.mask], batch.labels[batch.mask])
            if stop.is_set():
                self.layout.request("stop")
            self.layout.add([])
            if "stop" in self.layout.agreed_requests():
                self.save()
                raise KeyboardInterrupt
        # Every process of a replica has scored the replica's images.
        sums = [x / self.layout.processes_per_replica for x in self.layout.add(astuple(mine))]
        total = Score(num_images=round(sums[0]), wrong_1=sums[1], wrong_5=sums[2], loss_sum=sums[3])
        verdict = self.data.validation_baseline.verdict(
            loss=total.loss, error=total.top1_error, num_images=total.num_images
        )
        guessing = verdict == "guessing"
        plateau = self.progress.plateau.after(total.top1_error, self.recipe.schedule, guessing=guessing)
        best = self.progress.best
        if best is None or total.top1_error < best.error:
            best = Best(error=total.top1_error, step=self.step)
        rates = total.rates(self.loader.num_classes)
        scored = loader.shard_set.manifest
        last = Validation(
            images=total.num_images, rates=rates, split=scored.split, statistics_sha256=scored.statistics_sha256
        )
        self.progress = replace(self.progress, plateau=plateau, best=best, last_validation=last)
        log.write("val", self.step, epoch=self.epoch, **rates)

    def _watch_for_stall(self, numbers: dict[str, float], batch: Batch) -> None:
        """Warn once, with the likely reasons, if the network has not learned anything for many steps."""
        verdict = self.data.baseline.verdict(
            loss=numbers["loss"], error=numbers["top1_error"], num_images=self.interval.sums.images
        )
        if verdict == "learning":
            self.progress = replace(self.progress, guessing_since=self.step)
        elif self.step - self.progress.guessing_since >= STALL_STEPS and not self.progress.stall_reported:
            self.progress = replace(self.progress, stall_reported=True)
            with self.layout.contact():
                reasons = "; ".join(diagnose(self.learner, batch))
            if self.layout.rank == 0:
                like = "that of guessing" if verdict == "guessing" else "above that of guessing: it diverges"
                logger.warning("step %d: for %d steps the loss has been %s: %s", self.step, STALL_STEPS, like, reasons)

    def _draw(self, log: RunLog, last: bool) -> None:
        due = last or time.monotonic() - self.drawn > SECONDS_BETWEEN_PLOTS
        if self.layout.rank == 0 and due:
            folder, first = self.run_folder.folder, self.learner.network.wiring.layers[0].name
            try:
                draw_curves(folder, self.calendar.phases[0].steps_per_epoch)
                if (checkpoint := newest_checkpoint(folder / CHECKPOINTS)) is not None:
                    kernels = checkpoint.weights()[f"{first}.weight"].numpy()
                    draw_filters(folder / "filters.png", kernels, self.layout.columns.number)
                    log.image("filters", self.step, folder / "filters.png")
                log.image("curves", self.step, folder / "curves.png")
            except OSError as error:  # a failure to draw does not stop the run
                logger.warning("%s: pictures not drawn (%s)", folder, error)
            self.drawn = time.monotonic()
