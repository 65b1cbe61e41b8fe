"""Shared by the tests of whole runs: train the smallest network on generated shards into a folder."""

import json
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from alexkit.model.processes.launch import _free_port
from alexkit.model.runs.checkpoint import newest_checkpoint
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.trainer import Trainer

SCRIPT = Path(__file__).with_name("training_script.py")
OVERRIDES = [
    "training.batch_size=16",
    "training.epochs=4",
    "schedule.kind=steps",
    "schedule.at_epochs=[3]",
    "training.precision=fp32",  # the tests compare numbers
]
SAVE_ALWAYS = [*OVERRIDES, "training.checkpoint_minutes=0"]


class Stopped(Exception):
    pass


def train(shards: Path, folder: Path, overrides: list[str] = OVERRIDES, **options: Any) -> dict[str, Any]:
    trainer = Trainer(load_recipe("cifar10-19", overrides), shards, folder, device="cpu")
    try:
        return trainer.run(**options)
    finally:
        trainer.close()


def train_in_processes(
    start_script: Callable[..., BaseProcess], folder: Path, num_processes: int, **arguments: Any
) -> list[tuple[int | None, str]]:
    """Train in replicas, one process each; exit code and stderr of each. `arguments` are those of the script."""
    common = {"WORLD_SIZE": str(num_processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    errors = [folder.with_name(f"{folder.name}-{rank}") for rank in range(num_processes)]
    started = [
        start_script(
            SCRIPT,
            stderr=error,
            environment={**common, "RANK": str(rank)},
            folder=folder,
            device="cpu",
            **arguments,
        )
        for rank, error in enumerate(errors)
    ]
    for process in started:
        process.join()
    return [(process.exitcode, error.read_text()) for process, error in zip(started, errors, strict=True)]


def numbers(folder: Path) -> list[dict[str, Any]]:
    """The log without fields that depend on the clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: x for key, x in line.items() if key not in ("images_per_s", "wait_fraction")} for line in lines]


def last_weights(folder: Path) -> bytes:
    checkpoint = newest_checkpoint(folder / "checkpoints")
    assert checkpoint is not None
    return (checkpoint.folder / "weights.safetensors").read_bytes()


def newest_step(folder: Path) -> int:
    return max((int(path.name[5:13]) for path in (folder / "checkpoints").glob("step-*")), default=0)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((folder / "checkpoints").iterdir())[-1] / "weights.safetensors")
