"""Response normalization on a CPU: one pass over memory forward, one backward, with all intermediates in the cache.

Rows are pixels, columns are maps: `x`, `y`, `g`, `dx` are (pixels, maps), float32, float64 or the bits of bfloat16,
which is widened in the cache and rounded once when written. `constants` are alpha, beta and k in the compute dtype. The
backward pass recomputes the scale, which is cheaper than writing and reading it. Loops run over whole rows: with groups
of 48 maps, a third of each would fall to a scalar remainder loop. The loop that reads a row is repeated in both
kernels: as a function of its own it made them slower (benchmarks/README.md).
"""

import functools

import numpy as np
from numpy.typing import NDArray

from ...prep.format.compiled import Team, compiled
from .instructions import fused, inverse_fourth_root, stored, widened

Rows = NDArray[np.floating] | NDArray[np.unsignedinteger]
Floats = NDArray[np.floating]


@functools.cache
def team(num_threads: int) -> Team:
    """The threads for these kernels, started once."""
    return Team(num_threads)


@compiled
def normalize(x: Rows, y: Rows, constants: Floats, group: int, size: int, relu: bool, first: int, end: int) -> None:
    """y = a / (k + alpha * window sum of a^2)^beta for a = x, or with `relu` max(x, 0); windows stay in a group."""
    alpha, beta, k = constants[0], constants[1], constants[2]
    maps, half, zero = x.shape[1], size // 2, constants.dtype.type(0)
    a, sums = np.empty(maps, constants.dtype), np.empty(maps, constants.dtype)
    # Padded with zeros at both ends, so that windows there need no special case.
    squares = np.zeros(maps + 2 * half, constants.dtype)
    middle = squares[
        half : half + maps
    ]  # a separate array: with indices that might be negative, loops do not vectorize
    for pixel in range(first, end):
        for i in range(maps):
            value = widened(x[pixel, i])
            value = zero if relu and value < zero else value
            a[i] = value
            middle[i] = value * value
        _window_sums(squares, sums, group, size)
        if beta == 0.75:
            for i in range(maps):
                root = inverse_fourth_root(fused(alpha, sums[i], k))
                y[pixel, i] = stored(a[i] * (root * root * root), x[pixel, i])
        else:
            for i in range(maps):
                y[pixel, i] = stored(a[i] / (k + alpha * sums[i]) ** beta, x[pixel, i])


@compiled
def normalize_gradient(
    x: Rows, g: Rows, dx: Rows, constants: Floats, group: int, size: int, relu: bool, first: int, end: int
) -> None:
    """dx for the gradient g of y: g / scale^beta - 2 alpha beta a * window sum of g a / scale^(beta + 1)."""
    alpha, beta, k = constants[0], constants[1], constants[2]
    maps, half, zero = x.shape[1], size // 2, constants.dtype.type(0)
    a, direct = np.empty(maps, constants.dtype), np.empty(maps, constants.dtype)
    sums = np.empty(maps, constants.dtype)
    squares, ratios = np.zeros(maps + 2 * half, constants.dtype), np.zeros(maps + 2 * half, constants.dtype)
    middle, between = squares[half : half + maps], ratios[half : half + maps]
    weight = constants.dtype.type(-2) * alpha * beta
    for pixel in range(first, end):
        for i in range(maps):
            value = widened(x[pixel, i])
            value = zero if relu and value < zero else value
            a[i] = value
            middle[i] = value * value
        _window_sums(squares, sums, group, size)
        if beta == 0.75:
            for i in range(maps):
                root = inverse_fourth_root(fused(alpha, sums[i], k))
                square = root * root
                part = widened(g[pixel, i]) * (square * root)
                direct[i] = part
                between[i] = part * a[i] * (square * square)
        else:
            for i in range(maps):
                scale = k + alpha * sums[i]
                part = widened(g[pixel, i]) / scale**beta
                direct[i] = part
                between[i] = part * a[i] / scale
        _window_sums(ratios, sums, group, size)
        for i in range(maps):
            total = fused(weight * a[i], sums[i], direct[i])
            dx[pixel, i] = stored(zero if relu and a[i] <= zero else total, x[pixel, i])


@compiled
def _window_sums(padded: Floats, sums: Floats, group: int, size: int) -> None:
    """Set sums[i] to the sum of the `size` numbers around padded[size // 2 + i] that belong to the group of map i."""
    maps, half = len(sums), size // 2
    if size == 5:  # the paper's
        for i in range(maps):
            sums[i] = padded[i] + padded[i + 1] + padded[i + 2] + padded[i + 3] + padded[i + 4]
    else:
        sums[:] = 0
        for j in range(size):
            for i in range(maps):
                sums[i] += padded[i + j]
    if size == 5 and group >= 5:
        for border in range(group, maps, group):
            left = padded[border] + padded[border + 1]  # the last two maps before the border
            right = padded[border + 2] + padded[border + 3]  # and the first two after it
            sums[border - 2] = padded[border - 2] + padded[border - 1] + left
            sums[border - 1] = padded[border - 1] + left
            sums[border] = right + padded[border + 4]
            sums[border + 1] = right + padded[border + 4] + padded[border + 5]
        return
    for border in range(group, maps, group):
        for i in range(max(border - half, 0), min(border + half, maps)):
            begin = i // group * group
            total = sums.dtype.type(0)
            for j in range(max(i - half, begin), min(i + half + 1, begin + group)):
                total += padded[half + j]
            sums[i] = total
