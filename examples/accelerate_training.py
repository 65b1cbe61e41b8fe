"""Train under accelerate and resume exactly: python accelerate_training.py SHARDS FOLDER [MAX_STEPS], twice.

The loader is not passed to `accelerator.prepare`; under `accelerate launch` each process takes its own part of every
global batch. The loader is registered for checkpointing, so its state is saved and loaded with everything else.
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from alexkit.pipeline import Loader, TrainAugment


def main(shards: str, folder: str, max_steps: int = 3, crop: int = 56) -> list[list[int]]:
    """Train up to `max_steps` of one epoch, resuming from `folder` if it has a state; return each step's samples."""
    accelerator = Accelerator(cpu=True)
    seen = []
    with Loader(f"{shards}/train", batch_size=8, augment=TrainAugment(crop=crop), seed=1) as loader:
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * crop * crop, loader.num_classes))
        network, optimizer = accelerator.prepare(network, torch.optim.SGD(network.parameters(), lr=0.001))
        accelerator.register_for_checkpointing(loader)
        if Path(folder, "done").exists():
            accelerator.load_state(folder)
        done = loader.state_dict()["position"] // (8 * accelerator.num_processes)  # counts samples of all processes
        for step, batch in enumerate(loader, start=done):
            if step >= max_steps:
                break
            images, labels = batch.to(accelerator.device)
            accelerator.backward(torch.nn.functional.cross_entropy(network(images / 255), labels))
            optimizer.step()
            optimizer.zero_grad()
            seen.append(batch.indices.tolist())
            if step + 1 == max_steps:
                accelerator.save_state(folder, safe_serialization=True)
                Path(folder, "done").touch()
    return seen


if __name__ == "__main__":
    for indices in main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])):
        sys.stdout.write(" ".join(map(str, indices)) + "\n")  # one write per line, since processes share the terminal
