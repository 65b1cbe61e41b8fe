"""How long `next` takes, within an epoch and at epoch boundaries.

    python benchmarks/loading/boundaries.py PHOTOS [--format jpeg|raw] [--order full|window] [--epochs 20]
        [--batches 40] [--step-ms 0]

A loop takes every batch as soon as it is ready, or `--step-ms` after the previous one, like training that is slower
than the loader. Printed are the median of `next` within epochs, its 99th percentile and maximum relative to that median
(goal: at most 1.2 for the percentile), and the same for the first `next` of an epoch, including the end of the previous
loop (goal: at most 2). The first epoch, in which threads and memory are set up, is not counted.

Alternating with it, one epoch each, `next` of the control is timed: bare DALI as in `benchmarks/loader.py`, which has
no epochs. The amount by which its percentile exceeds 1 is due to this machine and the photographs, not to the loader.
The CPU time from one batch to the next, of all threads of this process, shows how uneven the work itself is; other
programs do not affect it.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import loader as loading
import torch

from alexkit.cores import num_cores
from alexkit.pipeline import Loader, TrainAugment


@dataclass
class Times:
    """Wall-clock and CPU seconds of every `next`."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def of(self, batches: Iterator[Any], step_s: float) -> None:
        """Time one `next`; the time of the end of a loop, which returns no batch, is added to the previous one."""
        begun, used = time.perf_counter(), time.process_time()
        is_there = next(batches, None) is not None
        seconds, processor = time.perf_counter() - begun, time.process_time() - used
        time.sleep(step_s)
        if is_there:
            self.clock.append(seconds)
            self.processor.append(processor)
        else:
            self.clock[-1] += seconds


def latencies(loader: Loader, control: Iterator[Any], epochs: int, step_s: float) -> tuple[Times, Times, Times]:
    """Times within epochs, of each epoch's first `next` including the end of the previous epoch, and of the control."""
    within, boundary, bare = Times(), Times(), Times()
    for epoch in range(epochs):
        if epoch == 1:
            within, boundary, bare = Times(), Times(), Times()
        settle()
        batches = iter(loader)
        boundary.of(batches, step_s)
        for _ in range(len(loader) - 1):
            within.of(batches, step_s)
        boundary.of(batches, 0.0)  # the end of the loop, which returns no batch
        settle()
        for _ in range(len(loader)):
            bare.of(control, step_s)
    return within, boundary, bare


def settle() -> None:
    """Wait until the other's batches in flight are done; their time would be counted here."""
    used = -1.0
    while time.process_time() - used > 1e-3:
        used = time.process_time()
        time.sleep(0.1)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--format", choices=("jpeg", "raw"), default="jpeg")
    parser.add_argument("--order", choices=("full", "window"), default="full")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batches", type=int, default=40, help="of an epoch")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--step-ms", type=float, default=0.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loading.write_shards(options.photos, folder, options.format, options.batch * options.batches)
        loading.BATCH = options.batch  # of the control
        control = loading.control_batches(folder, options.format, torch.device("cpu"), num_cores())
        augment = TrainAugment(crop=loading.CROP, mean="center", jitter="paper")
        with Loader(folder, batch_size=options.batch, augment=augment, order=options.order) as loader:
            within, boundary, bare = latencies(loader, control, options.epochs, options.step_ms / 1e3)
    print(
        f"{options.format} shards, order {options.order}, {options.epochs} epochs of {options.batches} batches of "
        f"{options.batch}, {options.step_ms:g} ms between batches"
    )
    print(f"{'':24s}          by the clock, in own medians   processor's, in own medians")
    print(f"{'':24s}median, ms  99th percentile   longest   99th percentile   longest")
    for title, one in (("within an epoch", within), ("the first of an epoch", boundary), ("control", bare)):
        cells = "".join(
            f"{percentile(values, 0.99) / median:16.2f}{max(values) / median:10.2f} "
            for values in (one.clock, one.processor)
            for median in [statistics.median(values)]
        )
        print(f"{title:24s}{1e3 * statistics.median(one.clock):10.2f} {cells}")
    ratio = statistics.median(boundary.clock) / statistics.median(within.clock)
    print(f"an epoch's boundary takes {ratio:.2f} medians")


if __name__ == "__main__":
    main()
