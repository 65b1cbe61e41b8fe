"""Train under Hugging Face's Trainer and resume with the very next batch.

python hugging_face_training.py SHARDS FOLDER [MAX_STEPS]: run it twice, with a larger MAX_STEPS the second time.

The Trainer resumes by skipping the batches that it has already seen in the epoch; the loader skips them without
decoding any.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from alexkit.pipeline import Batch, Loader, TrainAugment


class ImageTrainer(Trainer):
    """A Trainer that reads a loader."""

    def __init__(self, *args: Any, loader: Loader, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loader = loader
        self.seen: list[list[int]] = []

    def get_train_dataloader(self) -> Any:
        return self.loader

    def compute_loss(self, model: Any, inputs: Batch, return_outputs: bool = False, **_: Any) -> Any:
        self.seen.append(inputs.indices.tolist())
        logits = model(inputs.images.flatten(1) / 255)
        loss = torch.nn.functional.cross_entropy(logits, inputs.labels)
        return (loss, logits) if return_outputs else loss

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        return inputs.to(self.args.device)


def main(shards: str, folder: str, max_steps: int = 3, crop: int = 56) -> list[list[int]]:
    """Train up to `max_steps`, from the last checkpoint in `folder` if there is one; return each step's samples."""
    arguments = TrainingArguments(
        folder, max_steps=max_steps, save_steps=1, save_total_limit=2, use_cpu=True, report_to=[], disable_tqdm=True
    )
    torch.manual_seed(0)
    with Loader(f"{shards}/train", batch_size=8, augment=TrainAugment(crop=crop), seed=1) as loader:
        network = torch.nn.Linear(3 * crop * crop, loader.num_classes)
        trainer = ImageTrainer(network, arguments, loader=loader)
        trainer.train(resume_from_checkpoint=get_last_checkpoint(folder) if Path(folder).exists() else None)
    return trainer.seen


if __name__ == "__main__":
    for indices in main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])):
        print(*indices)
