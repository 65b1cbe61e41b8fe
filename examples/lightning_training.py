"""Train under Lightning, stop in the middle of an epoch, and resume with the very next batch.

python lightning_training.py SHARDS FOLDER [MAX_STEPS [DEVICES]]: run it twice, with a larger MAX_STEPS the second time.
With several devices, each rank takes its own part of every global batch.
"""

import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch

from alexkit.pipeline import Batch, Loader, TrainAugment
from alexkit.prep import ShardSet


class Images(lightning.LightningDataModule):
    """The training set. The loader is created in `train_dataloader`, when the rank is known."""

    def __init__(self, shards: str, crop: int = 56) -> None:
        super().__init__()
        self.shards, self.crop = shards, crop

    def train_dataloader(self) -> Loader:
        return Loader(f"{self.shards}/train", batch_size=8, augment=TrainAugment(crop=self.crop), seed=1)


class Classifier(lightning.LightningModule):
    """A linear classifier that records which samples it was given."""

    def __init__(self, crop: int = 56, num_classes: int = 10) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3 * crop * crop, num_classes)
        self.seen: list[list[int]] = []

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        images, labels = batch
        self.seen.append(batch.indices.tolist())
        return torch.nn.functional.cross_entropy(self.linear(images.flatten(1) / 255), labels)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.001)


def main(shards: str, folder: str, max_steps: int = 3, devices: int = 1) -> list[list[int]]:
    """Train up to `max_steps`, from the last checkpoint in `folder` if there is one; return each step's samples."""
    last = Path(folder) / "last.ckpt"
    saving = lightning.callbacks.ModelCheckpoint(folder, save_last=True, every_n_train_steps=1)
    trainer = lightning.Trainer(
        max_steps=max_steps,
        max_epochs=-1,
        accelerator="cpu",
        devices=devices,
        use_distributed_sampler=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[saving],
    )
    model = Classifier(num_classes=len(ShardSet.open(Path(shards) / "train").manifest.classes))
    trainer.fit(model, datamodule=Images(shards), ckpt_path=str(last) if last.exists() else None, weights_only=False)
    return model.seen


if __name__ == "__main__":
    for indices in main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])):
        # One write per line, since all ranks share the terminal.
        sys.stdout.write(" ".join(map(str, indices)) + "\n")
