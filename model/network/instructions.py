"""Single instructions for compiled loops that Numba has no word for; loops over them still become vectors.

`widened` and `stored` let one loop serve float32, float64 and bfloat16, whose bits are uint16: numbers are computed in
float32 at least, and rounded once when they are stored.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

WORD = ir.IntType(32)
# Minus a quarter of a float's exponent: within 3.2 % of its inverse fourth root. Each of Newton's steps squares the
# error, and after three it is 1.5e-7 (over four exponents, which repeat).
_FIRST_GUESS = 0x4F584800
_NEWTON_STEPS = 3


def _fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c with one rounding, of three floats of one kind."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    kind = a if a == b == c and isinstance(a, types.Float) else types.float32
    return kind(kind, kind, kind), generate


def _widened(typing_context: Any, value: Any) -> Any:
    """The float32 of the bits of a bfloat16, which are the upper half of the word; a float as it is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if value != types.uint16:
            return arguments[0]
        word = builder.zext(arguments[0], WORD)
        return builder.bitcast(builder.shl(word, WORD(16)), ir.FloatType())

    return (types.float32(types.uint16) if value == types.uint16 else value(value)), generate


def _rounded(typing_context: Any, value: Any) -> Any:
    """The bits of the bfloat16 that is nearest to a float32, halfway the even one; NaN stays NaN.

    Written out since Numba would compute integers in 64 bits, half as many at a time.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _nearest(builder, arguments[0])

    return types.uint16(types.float32), generate


def _stored(typing_context: Any, value: Any, like: Any) -> Any:
    """A float as `like` is stored: rounded to bits of bfloat16, or as it is. What `like` holds does not matter."""

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
    """value^(-1/4) of a positive float: by two square roots, which float32 does without.

    For float32 products and sums alone, in a third of the time of square roots and divisions. 0 for infinity.
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


# Any: type checkers take the compiler's own first argument for one of ours.
fused: Any = intrinsic(_fused)
widened: Any = intrinsic(_widened)
rounded: Any = intrinsic(_rounded)
stored: Any = intrinsic(_stored)
inverse_fourth_root: Any = intrinsic(_inverse_fourth_root)
