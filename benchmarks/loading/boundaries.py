"""How long `next` takes, within an epoch and where one ends and another begins.

    python benchmarks/loading/boundaries.py PHOTOS [--format jpeg|raw] [--order full|window] [--epochs 20]
        [--batches 40] [--step-ms 0]

A loop takes every batch as soon as it is there, or `--step-ms` after the last one, as training does that is slower than
the loader. Printed are the median of `next` within epochs, its 99th percentile and its longest over that median (goal:
at most 1.2 for the percentile), and the same for the first `next` of an epoch, with the end of the loop before (goal:
at most 2). The first epoch, in which threads and memory are made ready, does not count.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import loader as loading

from alexkit.pipeline import Loader, TrainAugment


def latencies(loader: Loader, epochs: int, step_s: float) -> tuple[list[float], list[float]]:
    """Seconds of every `next` within an epoch, and of each epoch's first one with the end of the epoch before."""
    within, boundary = [], []
    for epoch in range(epochs):
        batches = iter(loader)
        first = True
        begun = time.perf_counter()
        for _ in batches:
            taken = time.perf_counter() - begun
            if epoch:
                (boundary if first else within).append(taken)
            first = False
            time.sleep(step_s)
            begun = time.perf_counter()
        if epoch:  # the end of the loop, in which no batch comes
            boundary[-1] += time.perf_counter() - begun
    return within, boundary


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
        augment = TrainAugment(crop=loading.CROP, mean="center", jitter="paper")
        with Loader(folder, batch_size=options.batch, augment=augment, order=options.order) as loader:
            within, boundary = latencies(loader, options.epochs, options.step_ms / 1e3)
    median = statistics.median(within)
    print(
        f"{options.format} shards, order {options.order}, {options.epochs} epochs of {options.batches} batches of "
        f"{options.batch}, {options.step_ms:g} ms between batches"
    )
    print(f"{'':24s}median, ms   99th percentile   longest, in medians within epochs")
    for title, values in (("within an epoch", within), ("the first of an epoch", boundary)):
        print(
            f"{title:24s}{1e3 * statistics.median(values):10.2f}   {percentile(values, 0.99) / median:15.2f}   "
            f"{max(values) / median:7.2f}"
        )
    print(f"an epoch's boundary takes {statistics.median(boundary) / median:.2f} medians")


if __name__ == "__main__":
    main()
