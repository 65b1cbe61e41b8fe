"""Findings to look at first: labels to check, and images that are also in the training set."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..result import EvaluationResult

MAX_SHOWN = 24
DUPLICATE_DISTANCE = 0.05  # relative to the length of the query's feature vector


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspects:
    """Images whose label may be wrong."""

    indices: NDArray[np.int64]
    """The images, the most suspicious first."""
    counts_C: NDArray[np.int64]
    """Number of these images by class."""


def label_suspects(result: EvaluationResult) -> Suspects:
    """Images guessed to be of another class, with at least the average probability of that class's own images.

    This is the counting rule of confident learning (Northcutt et al., 2021). They are ordered by how much more probable
    the guess is than the label.
    """
    known = np.flatnonzero(result.labels_N >= 0)
    classes_N, values_N = result.guesses[0][known, 0], result.guesses[1][known, 0]
    labels_N, own_N = result.labels_N[known], result.own_probability_N[known]
    num_classes = len(result.classes)
    counts_C = np.bincount(labels_N, minlength=num_classes)
    mean_own_C = np.bincount(labels_N, own_N, num_classes) / np.maximum(counts_C, 1)
    suspicious = (classes_N != labels_N) & (values_N >= mean_own_C[classes_N])
    order = np.argsort(-(values_N - own_N)[suspicious], kind="stable")
    return Suspects(indices=known[suspicious][order], counts_C=np.bincount(labels_N[suspicious], minlength=num_classes))


def near_duplicates(
    distances_QK: NDArray[np.float32], norms_Q: NDArray[np.float32], most: int = MAX_SHOWN
) -> NDArray[np.int64]:
    """Rows whose nearest training image is closer than a twentieth of the query's length, the closest first.

    Args:
        distances_QK: Euclidean distances of each query's nearest training images, the nearest first.
        norms_Q: length of each query's feature vector.
        most: maximum number of rows to return.
    """
    relative_Q = distances_QK[:, 0] / np.maximum(norms_Q, 1e-12)
    close = np.flatnonzero(relative_Q < DUPLICATE_DISTANCE)
    return close[np.argsort(relative_Q[close], kind="stable")][:most]
