"""How fast does the network train? Ratios to a plain control, taken by turns in fresh processes.

    python benchmarks/train.py [--batch 64] [--turns 3] [--steps 4] [--shards SHARDS] [--device cpu] [--json FILE]

A step is forward, backward and update on 224 px images. The control is AlexNet as most people write it: grouped
convolutions, torch.nn.LocalResponseNorm, torch.optim.SGD, NCHW float32; on a GPU in bfloat16 and channels last, since
anything else would be unfair there. Every case runs in its own process, so that its peak memory is its own. Each turn
runs all cases, and the median over turns is reported, so that a busy machine affects all cases alike.
"""

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexkit.cli.memory import keep_freed_memory
from alexkit.cores import num_cores

NUM_CLASSES = 1000


def compiler(device: torch.device) -> str:
    """torch's compiler; if nothing is measured, only graph capture, which is all that a CPU can show."""
    return "inductor" if device.type == "cuda" else "aot_eager"


def control(batch: int, device: torch.device, *, autocast: bool = False, compile: bool = False) -> Callable[[], None]:
    """One training step of the plain network; on a GPU or with `autocast` in bfloat16 and channels last.

    With `compile`, forward and backward run under torch.compile.
    """

    def norm() -> nn.Module:
        return nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2)

    network = nn.Sequential(
        *(nn.Conv2d(3, 96, 11, 4, 2), nn.ReLU(), norm(), pool()),
        *(nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), norm(), pool()),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), pool(), nn.Flatten()),
        *(nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()),
        nn.Linear(4096, NUM_CLASSES),
    )
    in_bfloat16 = autocast or device.type == "cuda"
    order = torch.channels_last if in_bfloat16 else torch.contiguous_format
    network = network.to(device, memory_format=order)  # type: ignore[call-overload]
    if compile:
        network = torch.compile(network, backend=compiler(device))  # type: ignore[assignment]
    images, labels = constant_batch(batch, device)
    images = images.contiguous(memory_format=order)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=0.0005)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16):
            loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def ours(batch: int, device: torch.device, **changes: Any) -> Callable[[], None]:
    """One step of `alextrain`'s learner on a constant batch; `changes` are applied to the recipe.

    With `compile`, forward and backward run under torch.compile, in bfloat16 only. With `at_once`, the host reads every
    result before it begins the next step, also on a GPU.
    """
    compile, at_once = changes.pop("compile", False), changes.pop("at_once", False)
    learner, constant = learner_and_batch(batch, device, **changes)
    if compile:
        learner.copies.forward = torch.compile(learner.copies.forward, backend=compiler(device), fullgraph=True)
    return steps(lambda: learner.begin_step(constant, 0.0001), torch.device("cpu") if at_once else device)


def steps(begin: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """One step, whose result is read as late as in `Trainer`."""
    from alexkit.model.training.step import PendingSteps, steps_late

    pending = PendingSteps(steps_late(device))

    def run() -> None:
        for step in pending.add(begin()):
            step.result()

    return run


def replayed(batch: int, device: torch.device) -> Callable[[], None]:
    """One step in bfloat16 that is replayed from a CUDA graph as a whole: forward, backward, norm and update.

    On a CPU, which has no CUDA graphs, it is computed.
    """
    from alexkit.model.training.step import PendingStep

    learner, constant = learner_and_batch(batch, device, precision="bf16")
    step = torch.zeros((), dtype=torch.int64, device=device)
    for group in learner.optimizer.param_groups:
        group["lr"] = 0.0001

    def whole() -> Tensor:
        numbers: Tensor = learner._numbers(learner._gradients(constant, None, step))
        learner._update(numbers)
        return numbers

    compute = whole
    if device.type == "cuda":
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # kernels are compiled and selected before the capture
            for _ in range(3):
                whole()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="relaxed"):  # the update pins a table
            numbers = whole()

        def replay() -> Tensor:
            graph.replay()
            return numbers

        compute = replay

    def begin() -> PendingStep:
        step.fill_(learner.step)
        pending = PendingStep(
            number=learner.step,
            scale=learner.scale,
            agreed=learner.layout.add_on_device(compute()),
            num_images=batch,
            keys=constant.keys,
            layout=learner.layout,
            on_failure=learner._go_back,
            clock=None,
        )
        learner.step += 1
        return pending

    return steps(begin, device)


def learner_and_batch(batch: int, device: torch.device, **changes: Any) -> tuple[Any, Any]:
    """`alextrain`'s learner, and a constant batch."""
    from alexkit.model.network.precision import use_precision
    from alexkit.model.network.tables import wiring
    from alexkit.model.processes.layout import make_layout
    from alexkit.model.runs.recipe import Recipe
    from alexkit.model.training.learner import Learner
    from alexkit.pipeline import Batch

    columns = changes.pop("columns", 1)
    recipe = Recipe.from_json(
        {"training": {"batch_size": batch, "precision": changes.pop("precision", "auto")}, **changes}
    )
    table = wiring(recipe.network)
    layout = make_layout(table.columns, columns, device)
    precision = use_precision(recipe.training.precision, device)
    learner = Learner(recipe, table, NUM_CLASSES, layout=layout, device=device, precision=precision)
    images, labels = constant_batch(batch, device)
    constant = Batch(
        images=images.contiguous(memory_format=torch.channels_last),
        labels=labels,
        indices=torch.arange(batch, device=device),
        mask=torch.ones(batch, dtype=torch.bool, device=device),
        keys=[""] * batch,
    )
    return learner, constant


def from_shards(batch: int, device: torch.device, shards: Path) -> Callable[[], None]:
    """One step of `alextrain`'s learner on the next batch of the loader."""
    from alexkit.model.runs.recipe import Recipe
    from alexkit.model.training.trainer import Trainer

    recipe = Recipe.from_json({"training": {"batch_size": batch, "epochs": 1000}, "network": {"init": "quick"}})
    trainer = Trainer(recipe, shards, Path(tempfile.mkdtemp()) / "run", device=str(device))
    batches = (item for _ in range(1000) for item in trainer.loader)
    return steps(lambda: trainer.learner.begin_step(next(batches), 0.0001), device)


def constant_batch(batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Noise with the spread of mean-subtracted photographs, and labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, 224, 224, generator=generator) * 60
    return images.to(device), torch.randint(0, NUM_CLASSES, (batch,), generator=generator).to(device)


def run_case(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Time one case in this process: images/s and peak memory in bytes."""
    device = torch.device(arguments.device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if name in ("fp32-huge-pages", "control-huge-pages"):
        os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # read by torch at its first large tensor
    if not (name.startswith("control") or name.endswith(("-given-back", "-huge-pages"))):
        keep_freed_memory(arguments.device)  # as alextrain does
    step = CASES[name][1](arguments, device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for _ in range(2):
        step()
    wait()
    begun = time.perf_counter()
    for _ in range(arguments.steps):
        step()
    wait()
    seconds = time.perf_counter() - begun
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else kilobytes * 1024
    return {"images_per_s": arguments.batch * arguments.steps / seconds, "peak_bytes": peak}


Case = Callable[[argparse.Namespace, torch.device], Callable[[], None]]
CASES: dict[str, tuple[str, Case]] = {
    "control": ("plain control", lambda a, d: control(a.batch, d)),
    "control-huge-pages": ("plain control, huge pages", lambda a, d: control(a.batch, d)),
    "control-bf16": ("plain control, bf16 and channels last", lambda a, d: control(a.batch, d, autocast=True)),
    "fp32": ("ours, fp32", lambda a, d: ours(a.batch, d, precision="fp32")),
    "fp32-given-back": ("ours, fp32, memory given back", lambda a, d: ours(a.batch, d, precision="fp32")),
    "fp32-huge-pages": ("ours, fp32, memory given back, huge pages", lambda a, d: ours(a.batch, d, precision="fp32")),
    "bf16": ("ours, bf16", lambda a, d: ours(a.batch, d, precision="bf16")),
    "no-norm": (
        "ours, fp32, without normalization",
        lambda a, d: ours(a.batch, d, precision="fp32", network={"norm": "none"}),
    ),
    "no-norm-bf16": (
        "ours, bf16, without normalization",
        lambda a, d: ours(a.batch, d, precision="bf16", network={"norm": "none"}),
    ),
    "columns": ("ours, fp32, a process per column", lambda a, d: ours(a.batch, d, precision="fp32", columns=2)),
    "shards": ("ours, from shards", lambda a, d: from_shards(a.batch, d, a.shards)),
    "constant": ("ours, constant batch", lambda a, d: ours(a.batch, d, network={"init": "quick"})),
}


def run_turn(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Run a case in a fresh process, or, for the columns, in two that share the cores."""
    command = [
        sys.executable,
        __file__,
        "--case",
        name,
        "--batch",
        str(arguments.batch),
        "--steps",
        str(arguments.steps),
    ]
    command += ["--device", arguments.device] + (["--shards", str(arguments.shards)] if arguments.shards else [])
    num_processes = 2 if name == "columns" else 1
    threads = max(num_cores() // num_processes, 1)
    environment = dict(os.environ)
    if num_processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
        environment |= {"WORLD_SIZE": str(num_processes)}
    processes = [
        subprocess.Popen(
            [*command, "--threads", str(threads)],
            env={**environment, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_processes)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"case {name} failed")
    results = [json.loads(output.splitlines()[-1]) for output in outputs]
    return {
        "images_per_s": min(result["images_per_s"] for result in results),
        "peak_bytes": sum(result["peak_bytes"] for result in results),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shards", type=Path, help="folder with train/ and val/ at 256 px; also time training from it")
    parser.add_argument("--cases", help="comma-separated subset of " + ", ".join(CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(run_case(arguments.case, arguments)))
        return
    names = (
        arguments.cases.split(",")
        if arguments.cases
        else [name for name in CASES if "-" not in name or name == "no-norm"]
    )
    if not arguments.shards:
        names = [name for name in names if name not in ("shards", "constant")]
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(arguments.turns):
        for name in names:
            turns[name].append(run_turn(name, arguments))
            print(
                f"turn {turn + 1}: {name}: {turns[name][-1]['images_per_s']:.1f} images/s", file=sys.stderr, flush=True
            )
    rows = {}
    for name in names:
        speeds = [turn["images_per_s"] for turn in turns[name]]
        rows[name] = {
            "images_per_s": statistics.median(speeds),
            "lowest": min(speeds),
            "highest": max(speeds),
            "peak_bytes": max(turn["peak_bytes"] for turn in turns[name]),
        }
    print(f"batch {arguments.batch}, {arguments.device}, torch {torch.__version__}, {num_cores()} cores")
    print("| case | images/s (lowest-highest) | ratio to control | peak memory, MB |\n|---|---|---|---|")
    for name, row in rows.items():
        ratio = f"{row['images_per_s'] / rows['control']['images_per_s']:.2f}" if "control" in rows else "-"
        speed = f"{row['images_per_s']:.1f} ({row['lowest']:.1f}-{row['highest']:.1f})"
        print(f"| {CASES[name][0]} | {speed} | {ratio} | {row['peak_bytes'] / 1e6:.0f} |")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"batch": arguments.batch, "device": arguments.device, "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
