"""The facts that all processes of a run must agree on before the first step, as strings that can be compared."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from ... import __version__
from ...prep import ShardSet
from ..processes.layout import Layout
from ..runs.checkpoint import STATE, Checkpoint, checkpoint_folders, newest_checkpoint
from ..runs.recipe import Recipe
from ..runs.run import CHECKPOINTS, CONFIG


def run_facts(
    recipe: Recipe, shards: Path, validated: str | None, folder: Path, precision: torch.dtype
) -> dict[str, str]:
    """Recipe, data, versions and state of the run folder, by key. Raises InputError if a set cannot be opened."""
    facts = {f"--set {key}": value for key, value in _flat(recipe.to_json()).items() if key != "name"}
    facts["precision"] = str(precision).removeprefix("torch.")
    folded = [change.fold_in for change in recipe.training.folds]
    for split in dict.fromkeys(("train", *folded, validated)):
        if split is not None:
            facts[f"data of {split}"] = _data(shards / split)
    facts["version of alexkit"] = __version__
    facts["version of torch"] = torch.__version__
    facts["version of numpy"] = np.__version__
    newest = checkpoint_folders(folder / CHECKPOINTS)[-1:]
    facts["newest checkpoint"] = f"{newest[0].name} {_hash_of(newest[0] / STATE)}" if newest else "none"
    facts["config.json of the run"] = _hash_of(folder / CONFIG)
    return facts


def agreed_checkpoint(folder: Path, layout: Layout) -> Checkpoint | None:
    """The newest undamaged checkpoint, which all processes must find.

    Raises InputError also if one process finds another than the rest, since the disks of several machines need not give
    the same: they would train from different steps.
    """
    checkpoint = newest_checkpoint(folder)
    with layout.contact():
        layout.require_same("newest undamaged checkpoint", "none" if checkpoint is None else checkpoint.folder.name)
    return checkpoint


def _flat(data: dict[str, object], prefix: str = "") -> dict[str, str]:
    result: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            result |= _flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = json.dumps(value)
    return result


def _data(folder: Path) -> str:
    manifest = ShardSet.open(folder).manifest
    content = json.dumps(
        [
            [entry.id for entry in manifest.classes],
            manifest.statistics_sha256,
            [shard.sha256 for shard in manifest.shards],
        ]
    )
    short = hashlib.sha256(content.encode()).hexdigest()[:12]
    return f"{manifest.num_samples} images, {len(manifest.classes)} classes, {len(manifest.shards)} shards, {short}"


def _hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else "none"
