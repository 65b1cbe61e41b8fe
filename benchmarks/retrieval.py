"""Exact nearest neighbors of many images: our search against full matrix products in torch, by turns.

`python benchmarks/retrieval.py [--base 100000] [--units 4096] [--queries 10000] [--turns 1]`

Features are synthetic, float16 in a mapped file, of two kinds: `network`, positive and mostly along few directions,
like those of trained networks, and `even`, equal in all directions, for which no bound can rule anything out: the worst
case. Both searches read the file, and their results are compared. Memory excludes mapped files.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexkit.model.evaluation.retrieval import nearest

NEIGHBORS, CONTROL_QUERIES, ROWS = 6, 1024, 8192
Features = NDArray[np.float16]


def draw(kind: str, number: int, units: int, seed: int) -> Features:
    """Features of `kind`; the directions of `network` features are the same for every seed."""
    rng = np.random.default_rng(seed)
    result = np.empty((number, units), np.float16)
    few = np.random.default_rng(0).standard_normal((256, units), np.float32)
    few *= (np.arange(1, 257, dtype=np.float32) ** -0.7)[:, None]
    for start in range(0, number, ROWS):
        rows = min(ROWS, number - start)
        if kind == "network":
            inner = rng.standard_normal((rows, len(few)), np.float32) @ few
            values = np.maximum(inner + 0.3 * rng.standard_normal((rows, units), np.float32), 0)
        else:
            values = rng.standard_normal((rows, units), np.float32)
        result[start : start + rows] = values
    return result


def products(base_ND: Features, queries_QD: Features) -> NDArray[np.int64]:
    """The control: |b|^2 - 2 b q for all units, in blocks."""
    queries = torch.from_numpy(queries_QD.astype(np.float32))
    values, rows = [], []
    for start in range(0, len(base_ND), ROWS):
        block = torch.from_numpy(base_ND[start : start + ROWS].astype(np.float32))
        found = torch.addmm(block.square().sum(1), queries, block.T, alpha=-2).topk(NEIGHBORS, largest=False)
        values.append(found.values)
        rows.append(found.indices + start)
    order = torch.cat(values, 1).topk(NEIGHBORS, largest=False).indices
    result: NDArray[np.int64] = torch.cat(rows, 1).gather(1, order).numpy()
    return result


@contextmanager
def peak_of_memory() -> Iterator[list[float]]:
    """While open, sample the process's memory without mapped files; afterwards, [GB above the start]."""

    def anonymous() -> float:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) / 1e6

    start, peak, done = anonymous(), [0.0], threading.Event()

    def follow() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous() - start)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def timed(call: Callable[..., Any], *arguments: object) -> tuple[Any, float, float]:
    """The result of a call, its seconds, and its CPU seconds, which other programs hardly change."""
    start, cpu = time.perf_counter(), time.process_time()
    result = call(*arguments)
    return result, time.perf_counter() - start, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=int, default=100_000)
    parser.add_argument("--units", type=int, default=4096)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", default=["network", "even"])
    options = parser.parse_args()
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "base.npy"
            np.save(path, draw(kind, options.base, options.units, seed=1))
            base_ND = np.load(path, mmap_mode="r")
            queries_QD = draw(kind, options.queries if kind == "network" else CONTROL_QUERIES, options.units, seed=2)
            nearest(base_ND[:2000], queries_QD[:600], NEIGHBORS)  # compiles
            for _ in range(options.turns):
                with peak_of_memory() as peak:
                    (_, found), ours_s, ours_cpu_s = timed(nearest, base_ND, queries_QD, NEIGHBORS)
                some = queries_QD[:CONTROL_QUERIES]
                expected, control_s, _ = timed(products, base_ND, some)
                same = (np.sort(found[: len(some)], 1) == np.sort(expected, 1)).mean()
                print(
                    f"{kind}: {len(base_ND)} x {options.units}, ours {len(queries_QD) / ours_s:.0f} queries/s of "
                    f"{len(queries_QD)} ({1e3 * ours_cpu_s / len(queries_QD):.2f} ms of a core each), "
                    f"peak {peak[0]:.2f} GB; products {len(some) / control_s:.0f} queries/s of "
                    f"{len(some)}; {same:.2%} of rows are the same",
                    flush=True,
                )


if __name__ == "__main__":
    main()
