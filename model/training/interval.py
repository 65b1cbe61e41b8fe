"""The steps since the last log line: sums of their results, and where the time went."""

import time
from collections.abc import Iterator

from ...pipeline import Batch, Loader
from ..runs.progress import IntervalSums
from .step import StepClock, StepResult


class Interval:
    """Accumulates steps, starting from `sums`; the clock always starts at zero."""

    def __init__(self, sums: IntervalSums | None = None) -> None:
        self.idle_s: float | None = None  # of a GPU, between steps
        self.clock: StepClock | None = None  # of the last step on a GPU
        self.restart()
        if sums is not None:
            self.sums = sums

    def timed(self, loader: Loader) -> Iterator[Batch]:
        """Yield the loader's batches and measure the time that the host waits for them.

        Validations, checkpoints and pictures after the last log line do not count as time of the next steps.
        """
        if not self.timed_images:
            self.start = time.monotonic()
        batches = iter(loader)
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self.wait_s += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def add(self, step: StepResult, clock: StepClock | None = None) -> None:
        """Count one step; `clock` is that of its GPU."""
        self.timed_images += step.images
        if clock is not None:
            self.idle_s = self.idle_s or 0.0
            if self.clock is not None:
                self.idle_s += clock.idle_s(self.clock)
            self.clock = clock
        self.sums = IntervalSums(
            loss=self.sums.loss + step.loss,
            gradient_norm=self.sums.gradient_norm + step.gradient_norm,
            wrong=self.sums.wrong + step.wrong,
            images=self.sums.images + step.images,
            steps=self.sums.steps + 1,
        )

    def restart(self) -> None:
        """Reset after a log line."""
        self.sums = IntervalSums()
        self.timed_images, self.wait_s, self.start = 0, 0.0, time.monotonic()
        self.idle_s = self.clock = None

    def numbers(self) -> dict[str, float]:
        """Mean loss and gradient norm, top-1 error, images/s, and the fraction of time spent waiting for data.

        With a GPU, the latter is the fraction of time in which the GPU was idle between steps: the host waits for a
        batch while the GPU still computes the step before.
        """
        waited = self.wait_s if self.idle_s is None else self.idle_s
        seconds = max(time.monotonic() - self.start, 1e-9)
        return {
            "loss": self.sums.loss / self.sums.steps,
            "top1_error": self.sums.wrong / self.sums.images,
            "gradient_norm": self.sums.gradient_norm / self.sums.steps,
            "images_per_s": self.timed_images / seconds,
            "wait_fraction": waited / seconds,
        }
