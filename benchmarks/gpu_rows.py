"""The rows of `gpu.py`: each measures one thing in its own process and prints one line of JSON.

    python benchmarks/gpu_rows.py ROW --work FOLDER --device cuda:0 [--batch 256] [--seconds 10]

`FOLDER/jpeg` and `FOLDER/raw` hold a `train` set each. Rates are images/s; memory is the device's, in bytes.
"""

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import train as training

from alexkit.cores import num_cores
from alexkit.model.network.precision import use_device
from alexkit.pipeline import TrainAugment


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where and how long a row measures."""

    work: Path
    """Folder with the shard sets."""
    device: torch.device
    """What is measured."""
    batch: int
    """Batch size."""
    seconds: float
    """Duration of the measurement after the warm-up."""

    @property
    def on_gpu(self) -> bool:
        """False in a rehearsal."""
        return self.device.type == "cuda"


def loading(settings: Settings) -> Any:
    """The module `loader.py`, set to this batch size. It needs DALI and webdataset, which steps do without."""
    import loader

    loader.BATCH = settings.batch
    return loader


def load(settings: Settings, format: str, *, device: torch.device | None = None, unit: float = 0.0) -> dict[str, float]:
    """Batches of `Loader`, decoded on `device` (a fraction `unit` by its JPEG unit), moved to the measured one."""
    source = device or settings.device
    benchmark = loading(settings)
    augment = TrainAugment(crop=benchmark.CROP, mean="center", jitter="paper")
    folder = settings.work / format / "train"
    options: dict[str, Any] = {"device": str(source), "channels_last": True}
    options["hw_decoder_load"] = unit if source.type == "cuda" else 0.0  # which a rehearsal on a CPU has not
    batches = benchmark.loader_batches(folder, augment, num_cores(), **options)
    moved = (batch.to(settings.device, non_blocking=True) for batch in batches)
    return _rate(moved, settings)


def bare_dali(settings: Settings, format: str) -> dict[str, float]:
    """The loader that DALI's documentation suggests, with the GPU's hardware JPEG decoder if there is one."""
    folder = settings.work / format / "train"
    threads = num_cores()
    return _rate(loading(settings).control_batches(folder, format, settings.device, threads), settings)


def _rate(batches: Any, settings: Settings) -> dict[str, float]:
    rate, core_us = loading(settings).measure(batches, settings.seconds)
    return {"images_per_s": rate, "core_us_per_image": core_us}


def alone(num_steps: int) -> int:
    """With one process, any number of steps will do."""
    return num_steps


def step(
    settings: Settings, make: Callable[[], Callable[[], None]], agree: Callable[[int], int] = alone
) -> dict[str, float]:
    """Run as many steps as should fit into the time, judging by the first ones, without looking at the clock.

    A step is forward, backward and update. `agree` gets this process's number of steps and returns the number that
    all processes run: one that stopped earlier would leave the others waiting.
    """
    run = make()
    few = 3 if settings.on_gpu else 1
    for _ in range(few):  # compiles and fills caches
        run()
    num_steps = agree(max(math.ceil(settings.seconds * timed(run, few, settings) / settings.batch), 1))
    if settings.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    rate = timed(run, num_steps, settings)
    peak = torch.cuda.max_memory_allocated() if settings.on_gpu else 0
    return {"images_per_s": rate, "peak_bytes": peak}


def timed(run: Callable[[], None], num_steps: int, settings: Settings) -> float:
    """Images/s over this many steps."""
    wait(settings.device)
    begun = time.perf_counter()
    for _ in range(num_steps):
        run()
    wait(settings.device)
    return settings.batch * num_steps / (time.perf_counter() - begun)


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ours(settings: Settings, **changes: Any) -> Callable[[], Callable[[], None]]:
    """`alextrain`'s step on a constant batch."""
    return lambda: training.ours(settings.batch, settings.device, **changes)


def columns(settings: Settings) -> dict[str, float]:
    """`alextrain`'s step with one process per column; each process calls this."""
    learner, constant = training.learner_and_batch(settings.batch, settings.device, precision="bf16", columns=2)

    def agree(num_steps: int) -> int:
        total, processes = learner.layout.add([float(num_steps), 1.0])
        return max(round(total / processes), 1)

    row = step(settings, lambda: training.steps(lambda: learner.begin_step(constant, 0.0001), settings.device), agree)
    learner.layout.close()
    return row


def without_kernels(settings: Settings) -> Callable[[], Callable[[], None]]:
    """`alextrain`'s step with the normalization and update that are used without Triton."""
    from alexkit.model.network import norm
    from alexkit.model.training import optimizer

    norm.kernels_run = optimizer.kernels_run = lambda device: False
    return ours(settings, precision="bf16")


def control(settings: Settings, compile: bool) -> Callable[[], Callable[[], None]]:
    """Plain PyTorch: bfloat16, channels last, torch's LocalResponseNorm; the whole step compiled if asked.

    The remaining products are in TF32, and cuDNN uses its fastest algorithms, deterministic or not.
    """

    def make() -> Callable[[], None]:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
        plain = training.control(settings.batch, settings.device, compile=compile)
        return plain

    return make


def from_shards(settings: Settings, format: str) -> Callable[[], Callable[[], None]]:
    """`alextrain`'s step on the loader's batches."""

    def make() -> Callable[[], None]:
        from alexkit.model.runs.recipe import Recipe
        from alexkit.model.training.trainer import Trainer

        recipe = Recipe.from_json(
            {
                "training": {"batch_size": settings.batch, "epochs": 10**6, "precision": "bf16"},
                "network": {"init": "quick"},
                "data": {"validate_on": "none"},  # which a schedule that waits for a plateau refuses
                "schedule": {"kind": "constant"},
            }
        )
        run = Path(tempfile.mkdtemp(dir=settings.work)) / "run"
        trainer = Trainer(recipe, settings.work / format, run, device=str(settings.device))

        def endless() -> Iterator[Any]:
            while True:
                yield from trainer.loader

        batches = endless()
        return training.steps(lambda: trainer.learner.begin_step(next(batches), 0.0001), settings.device)

    return make


ROWS: dict[str, tuple[str, Callable[[Settings], dict[str, float]]]] = {
    "load-jpeg": ("Loader, JPEG decoded on the device", lambda s: load(s, "jpeg")),
    "load-jpeg-unit": ("Loader, JPEG decoded by the card's JPEG unit too", lambda s: load(s, "jpeg", unit=0.65)),
    "load-jpeg-bare": ("bare DALI, JPEG", lambda s: bare_dali(s, "jpeg")),
    "load-jpeg-cpu": ("Loader, JPEG decoded on the CPU, then moved", lambda s: load(s, "jpeg", device=CPU)),
    "load-raw": ("Loader, raw pixels on the device", lambda s: load(s, "raw")),
    "load-raw-bare": ("bare DALI, raw pixels", lambda s: bare_dali(s, "raw")),
    "load-raw-cpu": ("Loader, raw pixels on the CPU, then moved", lambda s: load(s, "raw", device=CPU)),
    "step-fp32": ("step, fp32", lambda s: step(s, ours(s, precision="fp32"))),
    "step-tf32": ("step, TF32", lambda s: step(s, ours(s, precision="tf32" if s.on_gpu else "fp32"))),
    "step-bf16": ("step, bf16", lambda s: step(s, ours(s, precision="bf16"))),
    "step-bf16-graph": (
        "step, bf16, replayed from a CUDA graph as a whole",
        lambda s: step(s, lambda: training.replayed(s.batch, s.device)),
    ),
    "step-bf16-at-once": (
        "step, bf16, every result read before the next step",
        lambda s: step(s, ours(s, precision="bf16", at_once=True)),
    ),
    "step-bf16-no-kernels": (
        "step, bf16, torch's operations in place of Triton's kernels",
        lambda s: step(s, without_kernels(s)),
    ),
    "step-plain": ("plain PyTorch, bf16", lambda s: step(s, control(s, False))),
    "train-jpeg": ("step, bf16, from JPEG shards", lambda s: step(s, from_shards(s, "jpeg"))),
    "train-raw": ("step, bf16, from raw shards", lambda s: step(s, from_shards(s, "raw"))),
    # Compiling takes the longest, so these two are the rows that a short run skips.
    "step-bf16-compiled": (
        "step, bf16, torch.compile",
        lambda s: step(s, ours(s, precision="bf16", compile=True)),
    ),
    "step-plain-compiled": ("plain PyTorch, bf16, torch.compile", lambda s: step(s, control(s, True))),
    "columns-2": ("step, bf16, a process and a card per column", columns),
}
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    use_device(str(device))  # as alextrain does: its algorithms and products
    settings = Settings(work=arguments.work, device=device, batch=arguments.batch, seconds=arguments.seconds)
    print(json.dumps(ROWS[arguments.row][1](settings)), flush=True)
    os._exit(0)  # DALI's pipelines still work on batches that will not be used; ending them late may end in a crash


if __name__ == "__main__":
    main()
