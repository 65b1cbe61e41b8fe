"""Top-1 and top-5 error of one network or of several together, by one view or ten.

The probabilities of an image are the plain mean of the softmax outputs over its views and over the networks
(paper, section 4.1), as the released code has it: never the mean of the logits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...pipeline import Batch, Loader


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Sums over `num_images` images; scores of disjoint sets of images add up."""

    num_images: int = 0
    wrong_1: int = 0
    wrong_5: int = 0
    loss_sum: float = 0.0

    def __add__(self, other: "Score") -> "Score":
        return Score(
            num_images=self.num_images + other.num_images,
            wrong_1=self.wrong_1 + other.wrong_1,
            wrong_5=self.wrong_5 + other.wrong_5,
            loss_sum=self.loss_sum + other.loss_sum,
        )

    @property
    def top1_error(self) -> float:
        """Share of images whose label is not the first guess, 0-1."""
        return self.wrong_1 / self.num_images

    @property
    def top5_error(self) -> float:
        """Share of images whose label is not among the first five guesses, 0-1."""
        return self.wrong_5 / self.num_images

    @property
    def loss(self) -> float:
        """Mean of -log(probability of the label), in nats."""
        return self.loss_sum / self.num_images

    def rates(self) -> dict[str, float]:
        """Loss and error rates as plain numbers for logs and tables."""
        return {"loss": self.loss, "top1_error": self.top1_error, "top5_error": self.top5_error}


def score(probabilities_NC: Tensor, labels_N: Tensor) -> Score:
    """The score of predictions. A tie with another class counts as a mistake, so a constant output is always wrong."""
    own_N = probabilities_NC.gather(1, labels_N[:, None])
    # Not "greater": ties and NaN must not count in the label's favor.
    rank_N = (~(probabilities_NC < own_N)).sum(1) - 1
    # A probability that has vanished in float32 counts as the smallest one, so that the loss stays a number.
    loss_sum = -own_N.double().clamp(min=torch.finfo(torch.float32).tiny).log().sum()
    sums = torch.stack([(rank_N >= 1).sum().double(), (rank_N >= 5).sum().double(), loss_sum])
    wrong_1, wrong_5, loss = sums.tolist()  # the host waits for the device once
    return Score(num_images=len(labels_N), wrong_1=round(wrong_1), wrong_5=round(wrong_5), loss_sum=loss)


@torch.no_grad()
def predict(
    network: nn.Module, loader: Loader, precision: torch.dtype = torch.float32
) -> Iterator[tuple[Batch, Tensor]]:
    """Every batch with the probabilities of its images, float32 (B, classes); the network is left in eval mode.

    Rows that are padding (`batch.mask` False) have probabilities too; leave them out.
    """
    network.eval()
    for batch in loader:
        views = batch.images.flatten(0, 1) if batch.images.ndim == 5 else batch.images
        with torch.autocast(views.device.type, precision, enabled=precision != torch.float32):
            logits = network(views.contiguous(memory_format=torch.channels_last))
        probabilities = logits.float().softmax(1)
        yield batch, probabilities.view(len(batch.labels), -1, probabilities.shape[1]).mean(1)
