"""Error counts for the predictions of one network, or for the mean of several networks.

An image's probabilities are the plain mean of the softmax outputs over its views and over the networks (paper, section
4.1), as in the released code; logits are never averaged.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MIN_CLASSES_FOR_TOP5 = 6  # with five classes or fewer the label is always among five guesses


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Sums over images; the scores of disjoint sets of images add up."""

    num_images: int = 0
    """Images counted."""
    wrong_1: float = 0.0
    """Images whose label is not the first guess; fractional if the label ties with other classes."""
    wrong_5: float = 0.0
    """Images whose label is not among the first five guesses; fractional if the label ties with other classes."""
    loss_sum: float = 0.0
    """Sum of -log(probability of the label), in nats."""

    def __add__(self, other: "Score") -> "Score":
        return Score(
            num_images=self.num_images + other.num_images,
            wrong_1=self.wrong_1 + other.wrong_1,
            wrong_5=self.wrong_5 + other.wrong_5,
            loss_sum=self.loss_sum + other.loss_sum,
        )

    @property
    def top1_error(self) -> float:
        """Fraction of images whose label is not the first guess, 0-1."""
        return self.wrong_1 / self.num_images

    @property
    def top5_error(self) -> float:
        """Fraction of images whose label is not among the first five guesses, 0-1."""
        return self.wrong_5 / self.num_images

    @property
    def loss(self) -> float:
        """Mean of -log(probability of the label), in nats."""
        return self.loss_sum / self.num_images

    def rates(self, num_classes: int) -> dict[str, float]:
        """Loss and error rates as plain numbers for logs and tables; no top-5 error for five classes or fewer."""
        found = {"loss": self.loss, "top1_error": self.top1_error}
        return found if num_classes < MIN_CLASSES_FOR_TOP5 else {**found, "top5_error": self.top5_error}


def score(probabilities_NC: Tensor, labels_N: Tensor) -> Score:
    """Score predictions. Classes that tie with the label share the credit for their ranks; see `topk_credit`.

    Args:
        probabilities_NC: (N, classes), any float dtype, on any device.
        labels_N: the correct classes, int64 (N,), on the same device.
    """
    own_N = probabilities_NC.gather(1, labels_N[:, None])
    # A probability that underflowed in float32 counts as the smallest normal number, so that the loss stays finite.
    loss_sum = -own_N.double().clamp(min=torch.finfo(torch.float32).tiny).log().sum()
    credits = [topk_credit(probabilities_NC, labels_N, k).sum() for k in (1, 5)]
    right_1, right_5, loss = torch.stack([*credits, loss_sum]).tolist()  # the host waits for the device once
    num_images = len(labels_N)
    return Score(num_images=num_images, wrong_1=num_images - right_1, wrong_5=num_images - right_5, loss_sum=loss)


def topk_credit(probabilities_NC: Tensor, labels_N: Tensor, k: int) -> Tensor:
    """Credit for each label being among the `k` most probable classes, float64 (N,), 0 to 1.

    It is 1 or 0 without ties. A label that ties with other classes gets the expected value of breaking ties at random:
    min(1, max(0, k - classes above) / classes equal), as in the released code (layer_kernels.cu:108-117). NaN anywhere
    counts against the label.
    """
    own_N1 = probabilities_NC.gather(1, labels_N[:, None])
    above_N = (~(probabilities_NC <= own_N1)).sum(1)
    equal_N = (probabilities_NC == own_N1).sum(1).clamp(min=1)
    return ((k - above_N).clamp(min=0).double() / equal_N).clamp(max=1)
