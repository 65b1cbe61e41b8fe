"""Train under Hugging Face's Trainer and resume with the very next batch.

python hugging_face_training.py SHARDS FOLDER [MAX_STEPS]: run it twice with a growing MAX_STEPS.

The Trainer resumes by counting batches from the start of an epoch, which a loader can do without: its state goes into
every checkpoint, and `ignore_data_skip` leaves the order to it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from alexkit.pipeline import Batch, Loader, TrainAugment

STATE = "loader.json"


class SaveLoader(TrainerCallback):
    """Puts the loader's state into each checkpoint. It is the same for all ranks, so rank 0 writes it."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
            (folder / STATE).write_text(json.dumps(self.loader.state_dict()))


class ImageTrainer(Trainer):
    """A Trainer that reads a loader."""

    def __init__(self, *args: Any, loader: Loader, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loader = loader
        self.args.ignore_data_skip = True
        self.add_callback(SaveLoader(loader))
        self.seen: list[list[int]] = []

    def get_train_dataloader(self) -> Any:
        return self.loader

    def train(self, resume_from_checkpoint: Any = None, **kwargs: Any) -> Any:
        if resume_from_checkpoint is True:
            resume_from_checkpoint = get_last_checkpoint(self.args.output_dir)
        if resume_from_checkpoint:
            self.loader.load_state_dict(json.loads(Path(resume_from_checkpoint, STATE).read_text()))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def compute_loss(self, model: Any, inputs: Batch, return_outputs: bool = False, **_: Any) -> Any:
        self.seen.append(inputs.indices.tolist())
        logits = model(inputs.images.flatten(1) / 255)
        loss = torch.nn.functional.cross_entropy(logits, inputs.labels)
        return (loss, logits) if return_outputs else loss

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        return inputs.to(self.args.device)


def main(shards: str, folder: str, max_steps: int = 3, crop: int = 56) -> list[list[int]]:
    """Train to `max_steps`, from the last checkpoint in `folder` where there is one; the samples of each step."""
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
