"""Forecast the sizes, memory and time of a run by building everything and making a few steps."""

import resource
import sys
import time
from dataclasses import dataclass

import torch

from ...pipeline import Batch
from .step import PendingSteps, steps_late
from .trainer import Trainer

TIMED_STEPS = {"cpu": 2, "cuda": 10}
"""By device: on a GPU enough for the host to be ahead of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunForecast:
    """The cost of a run, measured on a few steps in this process."""

    step_s: float
    """Seconds per step."""
    run_s: float
    """Seconds for the whole run, without validations."""
    memory: str
    """Peak memory, in words."""
    sent_bytes: int
    """Bytes of activations and their gradients sent to other columns per step."""


def forecast(trainer: Trainer) -> RunForecast:
    """Make a step as a warm-up and a few more, in all processes; the trainer cannot be used afterwards."""
    columns, num_steps = trainer.layout.columns, TIMED_STEPS[trainer.device.type]
    pending = PendingSteps(steps_late(trainer.device))
    with trainer.layout.contact():
        # A rate of almost zero: the work is the same, and no initialization can diverge.
        trainer.learner.train_step(_next(trainer), 1e-12)
        begun, sent = time.perf_counter(), columns.bytes_sent
        for number in range(num_steps):
            for step in pending.add(
                trainer.learner.begin_step(_next(trainer), 1e-12), read_all=number == num_steps - 1
            ):
                step.result()
    step_s = (time.perf_counter() - begun) / num_steps
    return RunForecast(
        step_s=step_s,
        run_s=step_s * trainer.num_steps,
        memory=memory(trainer.device),
        sent_bytes=(columns.bytes_sent - sent) // num_steps,
    )


def _next(trainer: Trainer) -> Batch:
    """The next batch, from the next epoch if necessary: an epoch of a small set has fewer batches than are needed."""
    return next(iter(trainer.loader))


def memory(device: torch.device) -> str:
    """The peak memory of this process, in words; for a GPU, what can be measured, and who uses it."""
    if device.type == "cuda":
        tensors = torch.cuda.max_memory_allocated(device)
        free, total = torch.cuda.mem_get_info(device)
        # Only torch counts its allocations; DALI's pools and the CUDA contexts just show as memory that is not free.
        return (
            f"{tensors / 1e9:.1f} GB of GPU memory in torch's tensors; including DALI, CUDA and other programs, "
            f"{(total - free) / 1e9:.1f} of {total / 1e9:.1f} GB are in use"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{(peak if sys.platform == 'darwin' else peak * 1024) / 1e9:.1f} GB"


def table(trainer: Trainer) -> str:
    """Figure 2 as a table: output, neurons, parameters, multiply-adds and numbers that cross columns, per image."""
    sizes = trainer.learner.network.sizes
    rows: list[tuple[str, ...]] = [("layer", "output", "neurons", "parameters", "multiply-adds", "crossing")]
    for size in sizes:
        output = f"{size.maps} x {size.px} x {size.px}" if size.px > 1 else str(size.maps)
        numbers = (size.neurons, size.weights + size.biases, size.multiply_adds, size.crossing)
        rows.append((size.name, output, *(f"{number:,}" for number in numbers)))
    totals = (
        sum(size.neurons for size in sizes),
        sum(size.weights + size.biases for size in sizes),
        sum(size.multiply_adds for size in sizes),
        sum(size.crossing for size in sizes),
    )
    rows.append(("total", "", *(f"{total:,}" for total in totals)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
