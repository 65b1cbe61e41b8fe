"""Trains a network on the given shards into the given folder, to be killed by a test; see `start_script`."""

import errno
import os
import signal
import sys
from pathlib import Path

import torch

from alexkit.model.runs import checkpoint as checkpoint_module
from alexkit.model.runs.load import load_recipe
from alexkit.model.training import trainer as trainer_module
from alexkit.model.training.trainer import Trainer


def main(
    shards: Path,
    folder: Path,
    overrides: list[str],
    recipe: str = "cifar10-19",
    device: str = "auto",
    late: int = 0,
    stop_after: int = 0,
    unreadable: str = "",
) -> None:
    """`late`: by how many steps results are read late. `stop_after`: after this step the last process gets SIGTERM.

    `unreadable`: the last process cannot read this checkpoint.
    """
    torch.set_num_threads(1)
    trainer_module.steps_late = lambda device: late
    if unreadable and os.environ["RANK"] != "0":
        read = checkpoint_module.read_checkpoint

        def fail(folder: Path) -> checkpoint_module.Checkpoint:
            if folder.name == unreadable:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))
            return read(folder)

        checkpoint_module.read_checkpoint = fail
    recipe_in_full = load_recipe(recipe, overrides)
    trainer = Trainer(recipe_in_full, shards, folder, device=device)
    is_last = trainer.layout.replica == trainer.layout.num_replicas - 1

    def report(images: int, note: str) -> None:
        if is_last and images == stop_after * recipe_in_full.training.batch_size:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.run(report)
    trainer.close()


if __name__ == "__main__":
    os.dup2(os.open(globals()["STDERR"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    os.environ.update(globals()["ENVIRONMENT"])
    main(**globals()["ARGUMENTS"])
