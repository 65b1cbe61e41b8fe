"""The paper's update on a CPU in one pass: gradient, weight and momentum are read once, the latter two written once.

All arrays are flat and of equal length. `decay` is the product of `lr` and `weight_decay`, as in PaperSGD:

    v <- momentum * v, then v + decay * w, then v + rate * g; w <- w + v

Each arrow and each "then" is rounded once to float32, with product and sum fused. If torch's own additions are fused
too (on all processors with AVX2), the results are bit-identical.

Loops count from 0 through a slice of each array. Numba wraps an index that might be negative, as one that starts at an
argument might be, and such a loop is not vectorized.
"""

import numpy as np
from numpy.typing import NDArray

from ...prep.format.compiled import compiled, compiled_reassociated
from ..network.instructions import fused, rounded, widened

Floats = NDArray[np.float32]
Bits = NDArray[np.unsignedinteger]
Number = np.floating
BLOCK = 2**12
"""Number of elements per block in which squares are summed in float32; the same for any number of threads."""


@compiled
def update(
    w: Floats, v: Floats, g: Floats, momentum: Number, decay: Number, rate: Number, first: int, end: int
) -> None:
    """Update float32 weights with float32 gradients; `decay` and `rate` are negative."""
    w, v, g = w[first:end], v[first:end], g[first:end]
    for i in range(len(w)):
        step = fused(rate, g[i], fused(decay, w[i], momentum * v[i]))
        v[i] = step
        w[i] += step


@compiled
def update_rounded(
    w: Floats, v: Floats, g: Bits, copy: Bits, momentum: Number, decay: Number, rate: Number, first: int, end: int
) -> None:
    """Update float32 weights with bfloat16 gradients; `copy` receives the new weights in bfloat16.

    `g` and `copy` hold bfloat16 numbers as uint16.
    """
    w, v, g, copy = w[first:end], v[first:end], g[first:end], copy[first:end]
    for i in range(len(w)):
        step = fused(rate, widened(g[i]), fused(decay, w[i], momentum * v[i]))
        v[i] = step
        w[i] += step
        copy[i] = rounded(w[i])


@compiled_reassociated
def sum_squares(g: Bits, sums: Floats, first: int, end: int) -> None:
    """Set sums[i] to the sum of the squares of block i of the bfloat16 numbers `g`, for blocks `first` to `end` - 1."""
    for block in range(first, end):
        part, total = g[block * BLOCK : (block + 1) * BLOCK], np.float32(0)
        for i in range(len(part)):
            total += widened(part[i]) * widened(part[i])
        sums[block] = total
