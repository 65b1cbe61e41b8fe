"""Trains a network on the given shards into the given folder, to be killed by a test; see `start_script`."""

import os
import sys
from pathlib import Path

import torch

from alexkit.model.runs.load import load_recipe
from alexkit.model.training.trainer import Trainer


def main(shards: Path, folder: Path, overrides: list[str], recipe: str = "cifar10-19", device: str = "auto") -> None:
    torch.set_num_threads(1)
    trainer = Trainer(load_recipe(recipe, overrides), shards, folder, device=device)
    trainer.run()
    trainer.close()


if __name__ == "__main__":
    os.dup2(os.open(globals()["STDERR"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    os.environ.update(globals()["ENVIRONMENT"])
    main(**globals()["ARGUMENTS"])
