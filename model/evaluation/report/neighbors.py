"""The nearest training images of every evaluated image."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ....prep import ShardSet
from ..result import BLOCK, EvaluationResult
from ..retrieval import CodeComparison, CodeOptions, compare_codes, nearest, stored_features, trained_codes
from ..trained import TrainedNetwork

NUM_NEIGHBORS = 6
CODE_NEIGHBORS, CODE_QUERIES = 10, 1000
CODE_OPTIONS = CodeOptions()


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
    base_ND: NDArray[np.floating]
    """The training images' features."""


def find_neighbors(
    network: TrainedNetwork,
    result: EvaluationResult,
    training: Path,
    *,
    batch_size: int = 64,
    report: Callable[[int], None] | None = None,
) -> TrainingNeighbors:
    """Find the nearest training images for the images of an evaluation that kept features.

    Args:
        network: the first network of the evaluation.
        result: the evaluation.
        training: the training shard set.
        batch_size: images per batch, if the training set's features have to be computed.
        report: called with the number of training images done so far.
    """
    features_ND = result.rows[0].features_ND
    if features_ND is None:
        raise InputError("this evaluation did not keep features; evaluate with keep_features=True")
    shard_set = ShardSet.open(training)
    base_ND = stored_features(network, shard_set, batch_size=batch_size, report=report)
    distances_NK, rows_NK = nearest(base_ND, features_ND, NUM_NEIGHBORS, device=str(network.device))
    norms_N = np.empty(len(features_ND), np.float32)
    for start in range(0, len(features_ND), BLOCK):
        rows = slice(start, start + BLOCK)
        norms_N[rows] = np.linalg.norm(np.asarray(features_ND[rows], np.float32), axis=1)
    return TrainingNeighbors(
        shard_set=shard_set, distances_NK=distances_NK, rows_NK=rows_NK, norms_N=norms_N, base_ND=base_ND
    )


def num_codes_seen(neighbors: TrainingNeighbors) -> int:
    """Number of training images that `compare_with_codes` processes, counting each pass over them."""
    return CODE_OPTIONS.epochs * len(neighbors.base_ND)


def compare_with_codes(
    network: TrainedNetwork,
    result: EvaluationResult,
    neighbors: TrainingNeighbors,
    *,
    report: Callable[[int], None] | None = None,
) -> CodeComparison:
    """Compare short codes (paper, section 6.1) with the exact search, for the first 1,000 images of an evaluation.

    Args:
        network: the first network of the evaluation.
        result: the evaluation.
        neighbors: the exact search.
        report: called with the number of training images seen so far, if codes have to be trained.
    """
    queries_ND = result.rows[0].features_ND
    assert queries_ND is not None  # since `neighbors` was computed from them
    model, codes_NB = trained_codes(network, neighbors.shard_set, neighbors.base_ND, CODE_OPTIONS, report)
    queries = queries_ND[:CODE_QUERIES]
    device = str(network.device)
    return compare_codes(neighbors.base_ND, queries, model, codes_NB, neighbors=CODE_NEIGHBORS, device=device)
