"""Response normalization of bfloat16 on a CPU: read and written as it is, computed in float32, rounded once.

Rows are pixels, columns maps: `x`, `y`, `g`, `dx` are the bits of bfloat16, uint16 (pixels, maps). A row is widened in
the cache and rounded to the nearest even when it is written: half the memory of `norm_kernels.py`, and no copies to
float32 and back. Helpers are copied into the kernels: calls cost as much as a group's arithmetic.
"""

import numpy as np
from numpy.typing import NDArray

from ...prep.format.compiled import compiled_reassociated, inlined

Rows = NDArray[np.floating]
Bits = NDArray[np.unsignedinteger]
Number = np.floating
"""A constant in the type of the rows, so that nothing is computed in float64 on the way."""


@compiled_reassociated
def normalize_bf16(
    x: Bits, y: Bits, group: int, size: int, alpha: float, beta: float, k: float, relu: bool, first: int, end: int
) -> None:
    """y = a / (k + alpha * window sum of a^2)^beta for a = x, or with `relu` max(x, 0); windows stay in a group."""
    alpha_, beta_, k_ = np.float32(alpha), np.float32(beta), np.float32(k)
    row = np.empty(x.shape[1], np.float32)
    squares, scale = np.zeros(group + size - 1, np.float32), np.empty(group, np.float32)
    for pixel in range(first, end):
        _widen(x[pixel], row.view(np.uint32))
        for start in range(0, len(row), group):
            _normalize_group(row[start : start + group], squares, scale, size, alpha_, beta_, k_, relu)
        _round(row.view(np.uint32), y[pixel])


@compiled_reassociated
def normalize_gradient_bf16(
    x: Bits,
    g: Bits,
    dx: Bits,
    group: int,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    relu: bool,
    first: int,
    end: int,
) -> None:
    """dx for the gradient g of y: g / scale^beta - 2 alpha beta a * window sum of g a / scale^(beta + 1)."""
    alpha_, beta_, k_ = np.float32(alpha), np.float32(beta), np.float32(k)
    row, gradient = np.empty(x.shape[1], np.float32), np.empty(x.shape[1], np.float32)
    squares, ratios = np.zeros(group + size - 1, np.float32), np.zeros(group + size - 1, np.float32)
    scale = np.empty(group, np.float32)
    for pixel in range(first, end):
        _widen(x[pixel], row.view(np.uint32))
        _widen(g[pixel], gradient.view(np.uint32))
        for start in range(0, len(row), group):
            part = slice(start, start + group)
            _gradient_group(row[part], gradient[part], squares, ratios, scale, size, alpha_, beta_, k_, relu)
        _round(gradient.view(np.uint32), dx[pixel])


@inlined
def _normalize_group(
    a: Rows, squares: Rows, scale: Rows, size: int, alpha: Number, beta: Number, k: Number, relu: bool
) -> None:
    """Replace the maps of one group at one pixel by their normalized values."""
    _rectify(a, squares, size, relu)
    if size == 5 and beta == a.dtype.type(
        0.75
    ):  # the paper's; two square roots, which processors have, instead of a power
        for i in range(len(a)):
            s = k + alpha * (squares[i] + squares[i + 1] + squares[i + 2] + squares[i + 3] + squares[i + 4])
            root = np.sqrt(s)
            a[i] = a[i] / (root * np.sqrt(root))
        return
    _window_sums(squares, scale, size)
    for i in range(len(a)):
        a[i] = a[i] / (k + alpha * scale[i]) ** beta


@inlined
def _gradient_group(
    a: Rows,
    g: Rows,
    squares: Rows,
    ratios: Rows,
    scale: Rows,
    size: int,
    alpha: Number,
    beta: Number,
    k: Number,
    relu: bool,
) -> None:
    """Replace the gradient of the normalized maps of one group at one pixel by that of the maps."""
    half, zero = size // 2, a.dtype.type(0)
    _rectify(a, squares, size, relu)
    if size == 5 and beta == a.dtype.type(0.75):
        for i in range(len(a)):
            s = k + alpha * (squares[i] + squares[i + 1] + squares[i + 2] + squares[i + 3] + squares[i + 4])
            root = np.sqrt(s)
            inverse = g[i] / (s * root * np.sqrt(root))  # g / s^1.75: one division for both terms
            g[i] = inverse * s
            ratios[half + i] = inverse * a[i]
    else:
        _window_sums(squares, scale, size)
        for i in range(len(a)):
            s = k + alpha * scale[i]
            g[i] = g[i] / s**beta
            ratios[half + i] = g[i] * a[i] / s
    weight = a.dtype.type(-2) * alpha * beta
    if size == 5:
        for i in range(len(a)):
            across = ratios[i] + ratios[i + 1] + ratios[i + 2] + ratios[i + 3] + ratios[i + 4]
            total = g[i] + weight * a[i] * across
            g[i] = total if a[i] > zero or not relu else zero
        return
    _window_sums(ratios, scale, size)
    for i in range(len(a)):
        total = g[i] + weight * a[i] * scale[i]
        g[i] = total if a[i] > zero or not relu else zero


@inlined
def _rectify(a: Rows, squares: Rows, size: int, relu: bool) -> None:
    """Rectify `a` in place; its squares lie between zeros, so that windows at the ends are like all others."""
    half, zero = size // 2, a.dtype.type(0)
    for i in range(len(a)):
        value = max(a[i], zero) if relu else a[i]
        a[i] = value
        squares[half + i] = value * value


@inlined
def _window_sums(padded: Rows, sums: Rows, size: int) -> None:
    sums[:] = 0
    for j in range(size):
        for i in range(len(sums)):
            sums[i] += padded[i + j]


@inlined
def _widen(half: Bits, whole: Bits) -> None:
    """bfloat16 to float32, as bits: the upper half of the word."""
    for i in range(len(half)):
        whole[i] = np.uint32(half[i]) << np.uint32(16)


@inlined
def _round(whole: Bits, half: Bits) -> None:
    """float32 to bfloat16, as bits: to the nearest, halfway to the even one; NaN stays NaN."""
    for i in range(len(half)):
        bits = whole[i]
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        nearest = (bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
        is_nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
        half[i] = np.uint16(0x7FC0) if is_nan else np.uint16(nearest)
