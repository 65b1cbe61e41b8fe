"""Evaluating finished or unfinished runs from their folders, each alone and all together.

Together means the plain mean of the runs' probabilities, image by image (paper, section 6.1).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...pipeline import CenterCrop, Loader, Mean, TenViews
from ...prep import ShardSet
from ..network.network import Network
from ..network.precision import choose_precision, use_device
from ..network.tables import wiring
from ..runs.checkpoint import newest_checkpoint
from ..runs.run import CHECKPOINTS, DataIdentity, Run
from .export import write_onnx
from .figures import draw_predictions
from .scores import predict, score

VIEWS = {"center": CenterCrop, "ten_views": TenViews}

# name, images, and by way of viewing ("center", "ten_views") the error rates: the JSON of 'alexeval --json'
Row = dict[str, Any]


class Evaluation:
    """Runs to be evaluated on one split of `shards`. Raises InputError when a run is not one, or from other data."""

    def __init__(
        self, folders: Sequence[Path], shards: Path, *, split: str = "val", batch_size: int = 64, device: str = "auto"
    ) -> None:
        if not shards.is_dir():
            raise InputError(f"--shards {shards}: no such folder; name one that 'alexprep shard' wrote")
        self.shards, self.split, self.batch_size = shards, split, batch_size
        self.device = use_device(device)
        self.shard_set = ShardSet.open(shards / split)
        self.runs = [Run.open(folder) for folder in folders]
        identity = DataIdentity.of(ShardSet.open(shards / "train"))
        for run in self.runs:
            run.require(identity)
        if DataIdentity.of(self.shard_set).class_ids != identity.class_ids:
            raise InputError(f"{shards}: train and {split} have different classes; shard them again from one source")
        self.labels_N = torch.zeros(self.shard_set.manifest.num_samples, dtype=torch.int64)
        self.sums_NC = {view: torch.zeros(len(self.labels_N), len(identity.class_ids)) for view in VIEWS}

    @property
    def num_passes(self) -> int:
        """Images that `run` will look at, counting each run and each way of viewing."""
        return len(self.runs) * len(VIEWS) * self.shard_set.manifest.num_samples

    def run(self, report: Callable[[int], None] | None = None) -> list[Row]:
        """One row per run, and one for all together where there are several."""
        rows: list[Row] = [{"name": str(run.folder), "images": len(self.labels_N)} for run in self.runs]
        if len(self.runs) > 1:
            rows.append({"name": "all together", "images": len(self.labels_N)})
        seen = 0
        for run, row in zip(self.runs, rows, strict=False):
            network = self._network(run)
            for view, sum_NC in self.sums_NC.items():
                own_NC = torch.zeros_like(sum_NC)
                with self._loader(run, view) as loader:
                    for batch, probabilities in predict(network, loader, self._precision(run)):
                        indices = batch.indices[batch.mask].cpu()
                        own_NC[indices] = probabilities[batch.mask].cpu()
                        self.labels_N[indices] = batch.labels[batch.mask].cpu()
                        seen += len(indices)
                        if report:
                            report(seen)
                row[view] = _errors(own_NC, self.labels_N)
                sum_NC += own_NC
        for view, sum_NC in self.sums_NC.items():
            rows[-1][view] = _errors(sum_NC / len(self.runs), self.labels_N)
        return rows

    def draw_examples(self, path: Path, count: int = 8) -> None:
        """After `run`: draw the first images with the five likeliest classes, all runs and ten views together."""
        crop = self.runs[0].recipe.data.crop
        names = [entry.name for entry in self.shard_set.manifest.classes]
        augment = CenterCrop(crop=crop, mean="none")
        with Loader(self.shards / self.split, batch_size=count, augment=augment, dtype=torch.uint8) as loader:
            batch = next(iter(loader))
        indices = batch.indices[batch.mask]
        images_NHWC = batch.images[batch.mask].permute(0, 2, 3, 1).numpy()
        mean_NC = self.sums_NC["ten_views"][indices] / len(self.runs)
        draw_predictions(path, images_NHWC, batch.labels[batch.mask].numpy(), mean_NC.numpy(), names)

    def write_onnx(self, path: Path) -> None:
        """Write the network of the only run, and the mean that it is fed without, as `export` describes.

        Raises InputError when there are several runs: an ONNX file holds one network.
        """
        if len(self.runs) != 1:
            raise InputError(f"--onnx writes one network, not {len(self.runs)}; name one RUN")
        (run,), data = self.runs, self.runs[0].recipe.data
        # At the center, the mean image at the crop's own place is the central one.
        mean = "center" if data.mean == "crop" else data.mean
        view = CenterCrop(crop=data.crop, mean=cast(Mean, mean), mean_from=self.shards / "train")
        mean_HWC = view.plan(self.shard_set).normalization.mean_image_HWC()
        mean_CHW = np.broadcast_to(mean_HWC, (data.crop, data.crop, 3)).transpose(2, 0, 1)
        weights = {name: x.numpy() for name, x in self._weights(run).items()}
        classes = [(entry.id, entry.name) for entry in self.shard_set.manifest.classes]
        write_onnx(path, wiring(run.recipe.network), weights, mean_CHW, classes)

    def _network(self, run: Run) -> Network:
        network = Network(wiring(run.recipe.network), len(self.shard_set.manifest.classes))
        network.load_state_dict(self._weights(run))
        return network.to(self.device)

    def _weights(self, run: Run) -> dict[str, Tensor]:
        checkpoint = newest_checkpoint(run.folder / CHECKPOINTS)
        if checkpoint is None:
            raise InputError(f"{run.folder}: no checkpoint yet; train it with 'alextrain' first")
        return checkpoint.weights()

    def _precision(self, run: Run) -> torch.dtype:
        return choose_precision(run.recipe.training.precision, self.device)

    def _loader(self, run: Run, view: str) -> Loader:
        data = run.recipe.data
        return Loader(
            self.shards / self.split,
            batch_size=max(self.batch_size // 10, 1) if view == "ten_views" else self.batch_size,
            augment=VIEWS[view](crop=data.crop, mean=cast(Mean, data.mean), mean_from=self.shards / "train"),
            device=str(self.device),
            channels_last=True,
        )


def _errors(probabilities_NC: Tensor, labels_N: Tensor) -> dict[str, float]:
    return score(probabilities_NC, labels_N).rates()
