"""What a run would be: sizes, memory and time, from building everything and making a few steps of it."""

import resource
import sys
import time
from dataclasses import dataclass

import torch

from ...pipeline import Batch
from .trainer import Trainer

TIMED_STEPS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class RunForecast:
    """What a run would take, measured on a few steps of it in this process."""

    step_s: float
    """Seconds of a step."""
    run_s: float
    """Seconds of the whole run without its validations."""
    memory: str
    """The most memory that was seen, in words."""
    sent_bytes: int
    """Activations and their gradients sent to other columns in a step."""


def forecast(trainer: Trainer) -> RunForecast:
    """Make three steps, the first to warm up, in all processes; the trainer is spent afterwards."""
    columns = trainer.layout.columns
    with trainer.layout.contact():
        # A rate of nearly nothing: the work is the same, and no start is too wild for it.
        trainer.learner.train_step(_next(trainer), 1e-12)
        begun, sent = time.perf_counter(), columns.bytes_sent
        for _ in range(TIMED_STEPS):
            trainer.learner.train_step(_next(trainer), 1e-12)
    step_s = (time.perf_counter() - begun) / TIMED_STEPS
    return RunForecast(
        step_s=step_s,
        run_s=step_s * trainer.num_steps,
        memory=memory(trainer.device),
        sent_bytes=(columns.bytes_sent - sent) // TIMED_STEPS,
    )


def _next(trainer: Trainer) -> Batch:
    """The next batch, be it of the next epoch: a small set has fewer in one."""
    return next(iter(trainer.loader))


def memory(device: torch.device) -> str:
    """The most memory that this process has used, in words; of a GPU, what can be known, and whose it is."""
    if device.type == "cuda":
        tensors = torch.cuda.max_memory_allocated(device)
        free, total = torch.cuda.mem_get_info(device)
        # Only torch counts its own: DALI's pools and the contexts of CUDA show as memory that is not free.
        return (
            f"{tensors / 1e9:.1f} GB of the GPU in torch's tensors; with DALI, CUDA and other programs "
            f"{(total - free) / 1e9:.1f} of {total / 1e9:.1f} GB are taken"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{(peak if sys.platform == 'darwin' else peak * 1024) / 1e9:.1f} GB"


def table(trainer: Trainer) -> str:
    """Figure 2 as text: output, neurons, parameters, multiply-adds, and what crosses between columns, per image."""
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
