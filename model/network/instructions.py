"""Instructions for compiled loops that Numba does not provide; loops that use them are still vectorized.

With `widened` and `stored`, one loop serves float32, float64 and bfloat16 (as uint16): numbers are computed in at least
float32 and rounded once when stored.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

WORD = ir.IntType(32)
# Minus a quarter of a float's bits, this is its inverse fourth root to within 3.2 %. Each Newton step squares the
# error; after three steps it is 1.5e-7 (over four exponents, after which the error repeats).
_FIRST_GUESS = 0x4F584800
_NEWTON_STEPS = 3


def _fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c with one rounding, for three floats of one type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    kind = a if a == b == c and isinstance(a, types.Float) else types.float32
    return kind(kind, kind, kind), generate


def _widened(typing_context: Any, value: Any) -> Any:
    """Convert the bits of a bfloat16, the upper half of a float32, to float32; a float is returned unchanged."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if value != types.uint16:
            return arguments[0]
        word = builder.zext(arguments[0], WORD)
        return builder.bitcast(builder.shl(word, WORD(16)), ir.FloatType())

    return (types.float32(types.uint16) if value == types.uint16 else value(value)), generate


def _rounded(typing_context: Any, value: Any) -> Any:
    """Round a float32 to the bits of the nearest bfloat16, ties to even; NaN stays NaN.

    Written in LLVM since Numba would use 64-bit integers, half as many per vector.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _nearest(builder, arguments[0])

    return types.uint16(types.float32), generate


def _stored(typing_context: Any, value: Any, like: Any) -> Any:
    """Convert a float to the storage type of `like`: bfloat16 bits, or unchanged. The value of `like` is not used."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _nearest(builder, arguments[0]) if like == types.uint16 else arguments[0]

    return (types.uint16(types.float32, like) if like == types.uint16 else value(value, like)), generate


def _nearest(builder: Any, value: Any) -> Any:
    word = builder.bitcast(value, WORD)
    odd = builder.and_(builder.lshr(word, WORD(16)), WORD(1))
    nearest = builder.lshr(builder.add(word, builder.add(odd, WORD(0x7FFF))), WORD(16))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, WORD(0x7FC0), nearest), ir.IntType(16))


def _inverse_fourth_root(typing_context: Any, value: Any) -> Any:
    """value^(-1/4) of a positive float; 0 for infinity.

    float64 uses two square roots. float32 uses only products and sums, in a third of the time of roots and divisions.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        if value == types.float64:
            sqrt = builder.module.declare_intrinsic("llvm.sqrt", [x.type])
            root = builder.call(sqrt, [builder.call(sqrt, [x])])
            return builder.fdiv(ir.Constant(x.type, 1.0), root)
        number = ir.FloatType()
        word = builder.sub(WORD(_FIRST_GUESS), builder.lshr(builder.bitcast(x, WORD), WORD(2)))
        root = builder.bitcast(word, number)
        minus_quarter = builder.fmul(x, number(-0.25))
        for _ in range(_NEWTON_STEPS):
            square = builder.fmul(root, root)
            factor = builder.fma(builder.fmul(minus_quarter, square), square, number(1.25))
            root = builder.fmul(root, factor)
        is_infinite = builder.fcmp_ordered("==", x, number(float("inf")))
        return builder.select(is_infinite, number(0.0), root)

    kind = types.float64 if value == types.float64 else types.float32
    return kind(kind), generate


# Any: type checkers would count the typing context, which the compiler passes, as an argument.
fused: Any = intrinsic(_fused)
widened: Any = intrinsic(_widened)
rounded: Any = intrinsic(_rounded)
stored: Any = intrinsic(_stored)
inverse_fourth_root: Any = intrinsic(_inverse_fourth_root)
