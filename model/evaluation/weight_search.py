"""Search weights for the members of an ensemble on labeled images, as the released code's avg-valid.py does.

The weights of the mean probabilities are chosen to maximize the likelihood of the labels. This is a concave problem,
solved by expectation maximization from equal weights, so the same images give the same weights.
"""

import numpy as np
from numpy.typing import NDArray

MAX_ROUNDS = 10_000
TOLERANCE = 1e-12  # of the mean log-likelihood


def search_weights(own_MN: NDArray[np.floating]) -> NDArray[np.float64]:
    """Non-negative weights (M,) with sum 1 that maximize the mean log of the labels' mixed probability.

    Args:
        own_MN: the probability that each of the M networks assigns to each image's label, (M, N).
    """
    p_MN = np.maximum(own_MN.astype(np.float64), np.finfo(np.float32).tiny)
    weights_M = np.full(len(p_MN), 1 / len(p_MN))
    likelihood = -np.inf
    for _ in range(MAX_ROUNDS):
        mixed_N = weights_M @ p_MN
        before, likelihood = likelihood, float(np.log(mixed_N).mean())
        if likelihood - before < TOLERANCE:
            break
        weights_M = weights_M * (p_MN / mixed_N).mean(1)
        weights_M /= weights_M.sum()
    return weights_M


def cross_fitted_weights(
    own_MN: NDArray[np.floating], num_images: int, rows_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Weights for each image that were searched without it, (M, num_images).

    The labeled images are split into two halves, alternately, and each half uses the weights searched on the other one,
    so an error rate with them is measured on images that the search has not seen.

    Args:
        own_MN: the probability that each network assigns to the label of each labeled image.
        num_images: images in the set.
        rows_N: indices of the labeled images in the set; at least two.
    """
    result = np.empty((len(own_MN), num_images))
    half_N = np.arange(num_images) % 2
    half_N[rows_N] = own_half_N = (
        np.arange(len(rows_N)) % 2
    )  # count labeled images only: all of them may have one parity
    for half in (0, 1):
        result[:, half_N == half] = search_weights(own_MN[:, own_half_N != half])[:, None]
    return result
