"""The nearest training images of every evaluated image."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ....prep import ShardSet
from ..result import BLOCK, EvaluationResult
from ..retrieval import nearest, stored_features
from ..trained import TrainedNetwork

NUM_NEIGHBORS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingNeighbors:
    """The nearest training images of every evaluated image, by features of the last hidden layer."""

    shard_set: ShardSet
    """The training set."""
    distances_NK: NDArray[np.float32]
    """Euclidean distances, the nearest first."""
    rows_NK: NDArray[np.int64]
    """Indices of the training images."""
    norms_N: NDArray[np.float32]
    """Length of each evaluated image's feature vector."""


def find_neighbors(
    network: TrainedNetwork,
    result: EvaluationResult,
    training: Path,
    *,
    batch_size: int = 64,
    report: Callable[[int], None] | None = None,
) -> TrainingNeighbors:
    """Search the training set for the images of an evaluation that kept features.

    Args:
        network: the first network of the evaluation.
        result: the evaluation.
        training: the training shard set.
        batch_size: images at once, where the training set's features have to be computed.
        report: called with the training images done so far.
    """
    features_ND = result.rows[0].features_ND
    if features_ND is None:
        raise InputError("this evaluation kept no features; evaluate with keep_features=True")
    shard_set = ShardSet.open(training)
    base_ND = stored_features(network, shard_set, batch_size=batch_size, report=report)
    distances_NK, rows_NK = nearest(base_ND, features_ND, NUM_NEIGHBORS, device=str(network.device))
    norms_N = np.empty(len(features_ND), np.float32)
    for start in range(0, len(features_ND), BLOCK):
        rows = slice(start, start + BLOCK)
        norms_N[rows] = np.linalg.norm(np.asarray(features_ND[rows], np.float32), axis=1)
    return TrainingNeighbors(shard_set=shard_set, distances_NK=distances_NK, rows_NK=rows_NK, norms_N=norms_N)
