"""The paper's update on a CPU in one pass: gradient, weight and momentum are read once, the two latter written once.

All arrays are flat and equally long. With `lr` and `weight_decay` taken together once, as PaperSGD does in torch:

    v <- momentum * v, then v + decay * w, then v + rate * g; w <- w + v

each arrow and each "then" rounded once to float32, product and sum together. Where torch's own additions are fused
(all processors with AVX2) every bit is the same.
"""

import numpy as np
from numpy.typing import NDArray

from ...prep.format.compiled import compiled, compiled_reassociated
from ..network.instructions import fused, rounded, widened

Floats = NDArray[np.float32]
Bits = NDArray[np.unsignedinteger]
Number = np.floating
BLOCK = 2**12
"""Squares are summed in float32 in blocks of so many: the same blocks for any number of threads."""


@compiled
def update(
    w: Floats, v: Floats, g: Floats, momentum: Number, decay: Number, rate: Number, first: int, end: int
) -> None:
    """The update of float32 weights by float32 gradients; `decay` and `rate` are negative."""
    for i in range(first, end):
        step = fused(rate, g[i], fused(decay, w[i], momentum * v[i]))
        v[i] = step
        w[i] += step


@compiled
def update_rounded(
    w: Floats, v: Floats, g: Bits, copy: Bits, momentum: Number, decay: Number, rate: Number, first: int, end: int
) -> None:
    """The update of float32 weights by bfloat16 gradients; `copy` becomes the new weights in bfloat16.

    `g` and `copy` are the bits of bfloat16.
    """
    for i in range(first, end):
        step = fused(rate, widened(g[i]), fused(decay, w[i], momentum * v[i]))
        v[i] = step
        w[i] += step
        copy[i] = rounded(w[i])


@compiled_reassociated
def sum_squares(g: Bits, sums: Floats, first: int, end: int) -> None:
    """sums[i] of the squares of block i of bfloat16 numbers, for blocks `first` to `end`."""
    for block in range(first, end):
        total = np.float32(0)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, len(g))):
            total += widened(g[i]) * widened(g[i])
        sums[block] = total
