"""What the update reads and writes for one parameter; without Triton, so that a CPU's update can take it too."""

from typing import NamedTuple

from torch import Tensor

Factors = tuple[float, float, float]
"""Of the momentum, the weights and the gradient."""


class Part(NamedTuple):
    """One parameter: tensors of one shape and device, flat where its memory allows."""

    w: Tensor
    """Weights."""
    v: Tensor
    """Momentum, of their dtype."""
    g: Tensor
    """Gradient, of their dtype or bfloat16."""
    copy: Tensor | None
    """What becomes the weights in bfloat16."""
    factors: Factors
