"""The numbers of a batch that are cheap for one image and dear for many: compiled loops over its rows."""

import numpy as np
from numpy.typing import NDArray

from ...prep.format.compiled import compiled


def normalized_offsets(offsets_N2: NDArray[np.int64], num_offsets_HW: tuple[int, int]) -> NDArray[np.float32]:
    """Crop offsets in px of the stored square as fractions of the slack along each axis; without slack 0.5."""
    normalized_N2 = np.empty(offsets_N2.shape, np.float32)
    _normalize(offsets_N2, num_offsets_HW[0] - 1, num_offsets_HW[1] - 1, normalized_N2)
    return normalized_N2


@compiled
def _normalize(offsets: NDArray[np.int64], slack_y: int, slack_x: int, normalized: NDArray[np.float32]) -> None:
    for i in range(len(offsets)):
        normalized[i, 0] = offsets[i, 0] / slack_y if slack_y else 0.5
        normalized[i, 1] = offsets[i, 1] / slack_x if slack_x else 0.5


def mean_colors(
    mean_C: NDArray[np.float32], shift_KC: NDArray[np.float32] | None, alpha_B3: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The mean color less each image's color shift, float32 (B, 3)."""
    means_B3 = np.empty_like(alpha_B3)
    _fill_means(mean_C, alpha_B3, np.zeros((3, 3), np.float32) if shift_KC is None else shift_KC, means_B3)
    return means_B3


@compiled
def _fill_means(
    mean: NDArray[np.float32], alpha: NDArray[np.float32], shift: NDArray[np.float32], means: NDArray[np.float32]
) -> None:
    for i in range(len(means)):
        for color in range(3):
            means[i, color] = mean[color]
            for component in range(3):
                means[i, color] -= alpha[i, component] * shift[component, color]
