"""Features of whole shard sets, computed once and stored in the run folder.

`RUN/features/LAYER-WEIGHTS-SET-PRECISION.npy`: float16 (samples, units) by image index, for the last hidden layer and
the center crop. WEIGHTS and SET are prefixes of the hashes of the weights and of the set's shards; PRECISION is the
dtype of the network's matrix products, which `auto` chooses by device.
"""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from ....pipeline import CenterCrop, Loader
from ....prep import ShardSet
from ....prep.format.files import whole_file
from ..forward import captured, large_array, store_features, view_probabilities
from ..trained import TrainedNetwork

FOLDER = "features"
logger = logging.getLogger(__name__)


def stored_features(
    network: TrainedNetwork,
    shard_set: ShardSet,
    *,
    batch_size: int = 64,
    report: Callable[[int], None] | None = None,
) -> NDArray[np.floating]:
    """The last hidden activations of every image of a set, float16 (samples, units), memory-mapped if they are stored.

    For a network from a run folder, they are stored there if it can be written; otherwise they are computed. They
    are also recomputed if the stored file is damaged, for example by a full disk or an incomplete copy.

    Args:
        network: the network.
        shard_set: the images.
        batch_size: images per batch.
        report: called with the number of images done so far, if they are computed.
    """
    path = kept_file(network, shard_set, network.network.sizes[-2].name, ".npy")
    shape = (shard_set.manifest.num_samples, network.network.sizes[-1].inputs)
    if path is not None and (found := read_kept(path, shape, np.float16)) is not None:
        return found
    keeps = may_write(path)
    features_ND = compute_features(network, shard_set, batch_size=batch_size, report=report)
    if path is None or not keeps:
        return features_ND
    with whole_file(path) as file:
        np.save(file, features_ND)
    kept: NDArray[np.floating] = np.load(path, mmap_mode="r")
    return kept


def read_kept(path: Path, shape: tuple[int, int], dtype: DTypeLike) -> NDArray[Any] | None:
    """Memory-map the array of a `.npy` file; None if it is missing, damaged, or has another shape or dtype."""
    try:
        kept: NDArray[Any] = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        return None
    except (ValueError, EOFError) as error:  # truncated, empty, or not a .npy file
        logger.warning("%s: damaged (%s); recomputing it", path, " ".join(str(error).split()))
        return None
    return kept if kept.shape == shape and kept.dtype == dtype else None


def kept_file(network: TrainedNetwork, shard_set: ShardSet, name: str, suffix: str) -> Path | None:
    """The file in a run folder for data computed from its weights and a set; None for a network from a weights file."""
    if not network.origin.path.is_dir():
        return None
    precision = str(network.precision).removeprefix("torch.")
    file = f"{name}-{network.origin.sha256[:16]}-{_fingerprint(shard_set)[:16]}-{precision}{suffix}"
    return network.origin.path / FOLDER / file


def may_write(path: Path | None) -> bool:
    """Create the folder of a `kept_file`; False, with a warning, in a run folder without permission to write."""
    if path is None:
        return False
    folder = path.parent if path.parent.exists() else path.parent.parent
    if not os.access(folder, os.W_OK):
        logger.warning("%s: no permission to write; features and codes are computed, but not kept", folder)
        return False
    path.parent.mkdir(exist_ok=True)
    return True


def compute_features(
    network: TrainedNetwork,
    shard_set: ShardSet,
    *,
    batch_size: int = 64,
    report: Callable[[int], None] | None = None,
) -> NDArray[np.floating]:
    """Compute the last hidden activations for the center crop in one pass over a set, float16 (samples, units)."""
    augment = CenterCrop(crop=network.recipe.data.crop, mean=network.mean, mean_from=network.statistics)
    features_ND: NDArray[np.floating] | None = None
    seen = 0
    with (
        Loader(
            shard_set.folder, batch_size=batch_size, augment=augment, device=str(network.device), channels_last=True
        ) as loader,
        captured(network, None) as hidden,
        torch.no_grad(),
    ):
        for batch in loader:
            view_probabilities(network, batch, network.precision)
            units_BD = hidden.pop()
            if features_ND is None:
                features_ND = large_array((loader.num_samples, units_BD.shape[1]), np.float16)
            store_features(features_ND, batch, units_BD)
            seen += int(batch.mask.sum())
            if report:
                report(seen)
    assert features_ND is not None
    return features_ND


def _fingerprint(shard_set: ShardSet) -> str:
    """A hash of the contents of all shards, in order."""
    return hashlib.sha256("".join(shard.sha256 for shard in shard_set.manifest.shards).encode()).hexdigest()
