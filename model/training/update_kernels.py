"""The paper's update on a CPU in one pass: gradient, weight and momentum are read once, the two latter written once.

All arrays are flat and equally long. With `lr` and `weight_decay` taken together once, as PaperSGD does in torch:

    v <- momentum * v, then v + decay * w, then v + rate * g; w <- w + v

each arrow and each "then" rounded once to float32, product and sum together. Where torch's own additions are fused
(all processors with AVX2) every bit is the same.
"""

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ...prep.format.compiled import compiled, compiled_reassociated

Floats = NDArray[np.float32]
Bits = NDArray[np.unsignedinteger]
Number = np.floating
WORD = ir.IntType(32)
BLOCK = 2**12
"""Squares are summed in float32 in blocks of so many: the same blocks for any number of threads."""


def _fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c with one rounding, of three float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


def _widened(typing_context: Any, bits: Any) -> Any:
    """float32 of the bits of a bfloat16: the upper half of the word."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = builder.zext(arguments[0], WORD)
        return builder.bitcast(builder.shl(word, WORD(16)), ir.FloatType())

    return types.float32(types.uint16), generate


def _rounded(typing_context: Any, value: Any) -> Any:
    """The bits of the bfloat16 that is nearest to a float32, halfway the even one; NaN stays NaN.

    Written out since Numba would compute integers in 64 bits, half as many at a time.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        word = builder.bitcast(value, WORD)
        odd = builder.and_(builder.lshr(word, WORD(16)), WORD(1))
        nearest = builder.lshr(builder.add(word, builder.add(odd, WORD(0x7FFF))), WORD(16))
        is_nan = builder.fcmp_unordered("uno", value, value)
        return builder.trunc(builder.select(is_nan, WORD(0x7FC0), nearest), ir.IntType(16))

    return types.uint16(types.float32), generate


# Any: type checkers take the compiler's own first argument for one of ours.
fused: Any = intrinsic(_fused)
widened: Any = intrinsic(_widened)
rounded: Any = intrinsic(_rounded)


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
