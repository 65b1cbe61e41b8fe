"""Load trained networks from run folders and weights files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ...errors import InputError
from ...prep import PixelOptions, ShardSet
from ..network.network import Network
from ..network.precision import use_device
from ..network.tables import wiring
from ..runs.checkpoint import WEIGHTS, Checkpoint, checkpoint_folders, newest_checkpoint, read_checkpoint
from ..runs.load import load_recipe
from ..runs.progress import Progress
from ..runs.recipe import Data, Precision, Recipe
from ..runs.run import CHECKPOINTS, CONFIG, DataIdentity, Run
from ..runs.weights import TORCHVISION_NETWORK, is_torchvisions, read_weights, require_network
from .trained import Origin, TrainedNetwork

CheckpointChoice = Literal["last", "best"] | int
# The mean of torchvision's transforms, in gray levels; the converted weights include the division by their std.
TORCHVISION = Recipe(
    name="torchvision", network=TORCHVISION_NETWORK, data=Data(mean=(255 * 0.485, 255 * 0.456, 255 * 0.406))
)
WEIGHT_SUFFIXES = (".safetensors", ".caffemodel")


def load_network(
    run: str | Path,
    checkpoint: CheckpointChoice = "last",
    *,
    recipe: str | None = None,
    shards: str | Path | None = None,
    device: str = "cpu",
    precision: Precision | None = None,
) -> TrainedNetwork:
    """Load a trained network in eval mode from a run folder or a weights file.

    Args:
        run: a run folder written by `alextrain`, a `.safetensors` file (ours or torchvision's AlexNet) or a
            `.caffemodel` file.
        checkpoint: which of a run's checkpoints: "last", "best" (lowest validation error; scores on the same images are
            then optimistic) or the number of a step.
        recipe: for a weights file, the recipe it was trained with: a built-in one, a TOML file or a run's config.json.
            Not needed for torchvision's and Caffe's AlexNet or for a checkpoint inside a run folder, which is loaded
            with the run's class names, preparation and mean.
        shards: the training shards, as a folder with `train/` or the set itself; needed if the run folder or weights
            file lacks class names, preparation or mean.
        device: "cpu", "cuda:N" or "auto".
        precision: "fp32", "bf16", "fp16" or "auto"; by default the recipe's, which is usually "auto": bfloat16 on
            hardware with matrix units for it. "tf32" is float32 here.

    Raises InputError if `run` is not a run or weights file, has no such checkpoint, does not fit its recipe or holds
    numbers that are not finite.
    """
    path = Path(run)
    if (path / CONFIG).exists():
        if recipe is not None:
            raise InputError(
                f"--recipe {recipe}: is only for weights files; {path} is a run folder and has its own recipe; omit "
                "--recipe"
            )
        trained = _from_run(path, checkpoint)
    elif path.is_file() and path.suffix in WEIGHT_SUFFIXES:
        trained = _from_file(path, recipe)
    elif path.is_file():
        raise InputError(
            f"{path}: not a supported weights file; expected {' or '.join(WEIGHT_SUFFIXES)} (pickled files such as "
            ".pth may run code: if you trust one, load it and save its state_dict with safetensors)"
        )
    else:
        Run.open(path)  # raises, naming what is missing
        raise AssertionError(path)
    if shards is not None:
        _learn_data(trained, _training_set(Path(shards)))
    trained.precision_name = precision
    return trained.to(use_device(device))


def _from_run(folder: Path, choice: CheckpointChoice) -> TrainedNetwork:
    run = Run.open(folder)
    checkpoint = choose_checkpoint(folder, choice)
    recipe = run.recipe_at(checkpoint.step)
    network = _network(recipe, checkpoint.weights(), str(folder), len(run.data.class_ids))
    weights_path = checkpoint.folder / WEIGHTS
    return TrainedNetwork(
        network,
        recipe=recipe,
        origin=Origin(path=folder, step=checkpoint.step, sha256=_sha256(weights_path)),
        classes=run.data.classes,
        pixels=run.data.pixels,
        statistics=run.statistics,
    )


def choose_checkpoint(folder: Path, choice: CheckpointChoice) -> Checkpoint:
    """The checkpoint of a run folder selected by `choice`. Raises InputError listing the others if there is none."""
    kept = folder / CHECKPOINTS
    last = newest_checkpoint(kept)
    steps = [int(path.name.removeprefix("step-")) for path in checkpoint_folders(kept)]
    if last is None:
        if steps:
            raise InputError(
                f"{folder}: its checkpoints (steps {', '.join(map(str, steps))}) are damaged; restore one or retrain"
            )
        raise InputError(f"{folder}: this run has no checkpoint yet; train it with 'alextrain' first")
    if choice == "last":
        return last
    step = _best_step(last) if choice == "best" else choice
    if step is None:
        raise InputError(f"{folder}: not validated yet, so there is no best checkpoint; use --checkpoint last")
    if step not in steps:
        there = ", ".join(map(str, steps))
        raise InputError(f"{folder}: no checkpoint of step {step}; choose --checkpoint last, best or one of {there}")
    return read_checkpoint(kept / f"step-{step:08d}")


def _best_step(checkpoint: Checkpoint) -> int | None:
    best = Progress.from_json(checkpoint.state.get("progress"), where=str(checkpoint.folder)).best
    return None if best is None else best.step


def _from_file(path: Path, recipe_name: str | None) -> TrainedNetwork:
    torchvisions = is_torchvisions(path)
    run = None
    if recipe_name:
        recipe = load_recipe(recipe_name)
        require_network(path, recipe.network, recipe=recipe_name)
    elif path.suffix == ".caffemodel":
        recipe = load_recipe("caffe")
    elif torchvisions:
        recipe = TORCHVISION
    else:
        run = _run_around(path)
        recipe = run.recipe_at()
    weights = read_weights(path)
    # As in torchvision's transforms: shorter side resized to 256 px, central crop of 224.
    pixels = PixelOptions(format="png") if torchvisions else None
    return TrainedNetwork(
        _network(recipe, weights, str(path), None if run is None else len(run.data.class_ids)),
        recipe=recipe,
        origin=Origin(path=path, step=None, sha256=_sha256(path)),
        classes=None if run is None else run.data.classes,
        pixels=pixels if run is None else run.data.pixels,
        statistics=None if run is None else run.statistics,
    )


def _run_around(path: Path) -> Run:
    """The run folder that contains a checkpoint's file, RUN/checkpoints/step-N/weights.safetensors."""
    for folder in path.absolute().parents[:3]:
        if (folder / CONFIG).exists():
            return Run.open(folder)
    raise InputError(
        f"{path}: a weights file does not record its network's architecture and preprocessing; name its recipe with "
        "--recipe"
    )


def _network(recipe: Recipe, weights: Mapping[str, Tensor], name: str, num_classes: int | None) -> Network:
    """The recipe's network with these weights. Raises InputError for one that is missing, misshapen or not finite."""
    table = wiring(recipe.network)
    last = f"{table.layers[-1].name}.weight"
    if last not in weights:
        raise InputError(
            f"{name}: has no {last}, so recipe {recipe.name!r} is for another network; name the recipe it was trained "
            "with by --recipe"
        )
    network = Network(table, num_classes or len(weights[last]))
    own = network.state_dict()
    for key, expected in own.items():
        found = weights.get(key)
        if found is None or found.shape != expected.shape:
            shape = "missing" if found is None else f"of shape {tuple(found.shape)}"
            raise InputError(
                f"{name}: {key} is {shape}, but the network of recipe {recipe.name!r} needs {tuple(expected.shape)}; "
                "name the recipe it was trained with by --recipe"
            )
        if not bool(torch.isfinite(found).all()):
            raise InputError(
                f"{name}: {key} contains numbers that are not finite; the run diverged or the file is damaged"
            )
    network.load_state_dict({key: weights[key] for key in own})
    return network


def _training_set(shards: Path) -> ShardSet:
    return ShardSet.open(shards / "train" if (shards / "train").is_dir() else shards)


def _learn_data(trained: TrainedNetwork, shard_set: ShardSet) -> None:
    """Fill in from the training set what the run or file does not record.

    Skipped if the run records everything, since the set may then hold only some of its classes.
    """
    if None not in (trained.classes, trained.pixels, trained.statistics):
        return
    data = DataIdentity.of(shard_set)
    if len(data.class_ids) != trained.num_classes:
        raise InputError(
            f"{trained.name}: its network has {trained.num_classes} outputs, but {shard_set.folder} has "
            f"{len(data.class_ids)} classes; name the set it was trained on"
        )
    trained.classes = trained.classes or data.classes
    trained.pixels = trained.pixels or data.pixels
    trained.statistics = trained.statistics or shard_set.sums()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
