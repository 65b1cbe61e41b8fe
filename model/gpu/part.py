"""The tensors of one parameter's update; independent of Triton, so that the CPU's update can use it too."""

from typing import NamedTuple

from torch import Tensor

Factors = tuple[float, float, float]
"""Factors of the momentum, the weights and the gradient."""


class Part(NamedTuple):
    """One parameter's tensors, of the same shape and device, flat if the memory layout allows."""

    w: Tensor
    """Weights."""
    v: Tensor
    """Momentum, with the dtype of the weights."""
    g: Tensor
    """Gradient, with the dtype of the weights or bfloat16."""
    copy: Tensor | None
    """Receives the weights in bfloat16."""
    factors: Factors


def is_flat(x: Tensor) -> bool:
    """Whether `x` is one-dimensional and contiguous."""
    return x.ndim == 1 and x.is_contiguous()
