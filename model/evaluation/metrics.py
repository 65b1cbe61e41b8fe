"""Statistics of predictions: intervals, calibration, per-class rates and confusions. NumPy in, NumPy out.

`probability_N` is the highest probability of each image, `predicted_N` its class, `labels_N` the correct class.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15
Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson_interval(wrong: float, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of an error rate, 0-1; accurate for small sets and rates near 0 or 1."""
    if total < 1:
        return 0.0, 1.0
    rate, z2 = wrong / total, Z_95**2
    center = (rate + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 * sqrt(max(rate * (1 - rate), 0.0) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    return max(0.0, center - half), min(1.0, center + half)


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """A reliability diagram: images binned by the probability of their first guess, 15 bins of equal width."""

    counts_B: NDArray[np.int64]
    """Images in each bin."""
    confidence_B: NDArray[np.float64]
    """Mean probability of the first guess in each bin, 0-1; NaN for an empty bin."""
    accuracy_B: NDArray[np.float64]
    """Fraction of correct first guesses in each bin, 0-1; NaN for an empty bin."""

    @classmethod
    def of(cls, probability_N: NDArray[np.floating], right_N: NDArray[np.bool_]) -> "Calibration":
        """Use bins (0, 1/15], (1/15, 2/15], ... (14/15, 1], as in Naeini et al. (2015) and torchmetrics."""
        bins_N = np.clip(np.ceil(probability_N.astype(np.float64) * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)
        counts_B = np.bincount(bins_N, minlength=NUM_BINS)
        with np.errstate(invalid="ignore"):
            confidence_B = np.bincount(bins_N, probability_N.astype(np.float64), NUM_BINS) / counts_B
            accuracy_B = np.bincount(bins_N, right_N.astype(np.float64), NUM_BINS) / counts_B
        return cls(counts_B=counts_B, confidence_B=confidence_B, accuracy_B=accuracy_B)

    @property
    def error(self) -> float:
        """Expected calibration error, 0-1: the mean gap between confidence and accuracy, weighted by images."""
        gaps_B = np.nan_to_num(np.abs(self.confidence_B - self.accuracy_B))
        return float((gaps_B * self.counts_B).sum() / self.counts_B.sum())


def confusion_matrix(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    """Images by (label, first guess), int64 (classes, classes)."""
    counts = np.bincount(labels_N * num_classes + predicted_N, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRates:
    """Rates per class, as arrays over classes; NaN if a class has no images or is never guessed."""

    images_C: NDArray[np.int64]
    """Images with this label."""
    recall_C: NDArray[np.float64]
    """Fraction of the class's images whose first guess is correct, 0-1."""
    precision_C: NDArray[np.float64]
    """Fraction of correct labels among the images guessed to be of this class, 0-1."""
    confidence_C: NDArray[np.float64]
    """Mean probability of the label over the class's images, 0-1."""

    @classmethod
    def of(
        cls, confusion_CC: NDArray[np.int64], labels_N: NDArray[np.int64], own_N: NDArray[np.floating]
    ) -> "ClassRates":
        """Compute the rates from a confusion matrix and each image's probability of its label, `own_N`."""
        images_C, guessed_C, right_C = confusion_CC.sum(1), confusion_CC.sum(0), confusion_CC.diagonal()
        with np.errstate(invalid="ignore"):
            confidence_C = np.bincount(labels_N, own_N.astype(np.float64), len(images_C)) / images_C
            return cls(
                images_C=images_C,
                recall_C=right_C / images_C,
                precision_C=right_C / guessed_C,
                confidence_C=confidence_C,
            )


def confused_pairs(confusion_CC: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows (label, guess, images) of every confusion that occurs, int64 (pairs, 3), the most frequent first."""
    wrong_CC = confusion_CC.copy()
    np.fill_diagonal(wrong_CC, 0)
    labels, guesses = np.nonzero(wrong_CC)
    counts = wrong_CC[labels, guesses]
    order = np.lexsort((guesses, labels, -counts))
    return np.stack([labels[order], guesses[order], counts[order]], axis=1)
