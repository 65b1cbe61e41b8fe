"""Response normalization on a CPU: one pass over memory forward, one backward, all that lies between in the cache.

Rows are pixels, columns maps: `x`, `y`, `g`, `dx` are (pixels, maps), float32 or float64. The scale is computed again
in the backward pass, which is cheaper than writing and reading it.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from ...prep.format.compiled import Team, compiled

Rows = NDArray[np.floating]


@functools.cache
def team(num_threads: int) -> Team:
    """The threads for these kernels, started once."""
    return Team(num_threads)


@compiled
def normalize(
    x: Rows, y: Rows, group: int, size: int, alpha: float, beta: float, k: float, relu: bool, first: int, end: int
) -> None:
    """y = a / (k + alpha * window sum of a^2)^beta for a = x, or with `relu` max(x, 0); windows stay in a group."""
    half = size // 2
    a, scale = np.empty(group, x.dtype), np.empty(group, x.dtype)
    squares = np.zeros(group + 2 * half, x.dtype)  # zeros at both ends, so that windows there are like all others
    for pixel in range(first, end):
        for start in range(0, x.shape[1], group):
            _scales(x[pixel, start : start + group], a, squares, scale, size, alpha, k, relu)
            _divided(a, scale, beta, y[pixel, start : start + group])


@compiled
def normalize_gradient(
    x: Rows,
    g: Rows,
    dx: Rows,
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
    half = size // 2
    a, scale = np.empty(group, x.dtype), np.empty(group, x.dtype)
    direct, across = np.empty(group, x.dtype), np.empty(group, x.dtype)
    squares, ratios = np.zeros(group + 2 * half, x.dtype), np.zeros(group + 2 * half, x.dtype)
    weight = x.dtype.type(-2 * alpha * beta)
    zero = x.dtype.type(0)
    for pixel in range(first, end):
        for start in range(0, x.shape[1], group):
            values = x[pixel, start : start + group]
            _scales(values, a, squares, scale, size, alpha, k, relu)
            _divided(g[pixel, start : start + group], scale, beta, direct)
            for i in range(group):
                ratios[half + i] = direct[i] * a[i] / scale[i]
            _window_sums(ratios, across, size)
            to = dx[pixel, start : start + group]
            for i in range(group):
                to[i] = direct[i] + weight * a[i] * across[i]
            if relu:
                for i in range(group):
                    to[i] = to[i] if values[i] > zero else zero


@compiled
def _scales(values: Rows, a: Rows, squares: Rows, scale: Rows, size: int, alpha: float, k: float, relu: bool) -> None:
    half, zero = size // 2, values.dtype.type(0)
    for i in range(len(values)):
        a[i] = max(values[i], zero) if relu else values[i]
    for i in range(len(values)):
        squares[half + i] = a[i] * a[i]
    _window_sums(squares, scale, size)
    alpha_, k_ = values.dtype.type(alpha), values.dtype.type(k)
    for i in range(len(values)):
        scale[i] = k_ + alpha_ * scale[i]


@compiled
def _window_sums(padded: Rows, sums: Rows, size: int) -> None:
    if size == 5:  # the paper's
        for i in range(len(sums)):
            sums[i] = padded[i] + padded[i + 1] + padded[i + 2] + padded[i + 3] + padded[i + 4]
        return
    sums[:] = 0
    for j in range(size):
        for i in range(len(sums)):
            sums[i] += padded[i + j]


@compiled
def _divided(values: Rows, scale: Rows, beta: float, to: Rows) -> None:
    if beta == 0.75:  # two square roots, which processors have, instead of a beta
        for i in range(len(values)):
            root = np.sqrt(scale[i])
            to[i] = values[i] / (root * np.sqrt(root))
        return
    beta_ = values.dtype.type(beta)
    for i in range(len(values)):
        to[i] = values[i] / scale[i] ** beta_
