"""Response normalization on a GPU: one kernel forward, one backward, with no intermediates in memory.

Rows are pixels, columns are maps: (pixels, maps), contiguous, float32, bfloat16 or float16. Numbers are computed in
float32 and rounded once when stored. A program handles some rows of one group of maps; it gets the numbers of a window
from its other threads (`tl.gather`). Reloading them from the cache and recomputing the scales of all neighbors takes
three times the instructions in the backward pass, and products with a band matrix need more registers than there are
(benchmarks/README.md).
"""

from typing import Any

import torch
import triton
from torch import Tensor
from triton import language as tl

from .band import Constants

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
NUMBERS, WARPS = 2048, 4
"""Per program: 16 numbers per thread."""


def normalize(x_PC: Tensor, constants: Constants) -> Tensor:
    """The normalized rows."""
    y_PC = torch.empty_like(x_PC)
    _launch(_normalize, (x_PC, y_PC), constants)
    return y_PC


def normalize_gradient(x_PC: Tensor, g_PC: Tensor, constants: Constants) -> Tensor:
    """The gradient of `x_PC`, given the gradient `g_PC` of the normalized rows."""
    dx_PC = torch.empty_like(x_PC)
    _launch(_normalize_gradient, (x_PC, g_PC, dx_PC), constants)
    return dx_PC


def _launch(kernel: Any, tensors_PC: tuple[Tensor, ...], constants: Constants) -> None:
    size, alpha, beta, k, groups, relu = constants
    pixels, maps = tensors_PC[0].shape
    group = maps // groups
    width = triton.next_power_of_2(group)
    rows = max(NUMBERS // width, 1)
    grid = (triton.cdiv(pixels, rows), groups)
    arguments = (*tensors_PC, pixels, alpha, beta, k, maps, group, size // 2, relu, beta == 0.75, rows, width)
    if not pixels:
        return
    if not tensors_PC[0].is_cuda:  # Triton's interpreter
        kernel[grid](*arguments)
        return
    with torch.cuda.device(tensors_PC[0].device):  # Triton launches on the current device
        kernel[grid](*arguments, num_warps=WARPS)


@triton.jit
def _normalize(
    x: tl.tensor,
    y: tl.tensor,
    pixels: tl.tensor,
    alpha: tl.tensor,
    beta: tl.tensor,
    k: tl.tensor,
    maps: tl.constexpr,
    group: tl.constexpr,
    half: tl.constexpr,
    relu: tl.constexpr,
    roots: tl.constexpr,
    rows: tl.constexpr,
    width: tl.constexpr,
):
    """y = a / (k + alpha * window sum of a^2)^beta for a = x, or with `relu` max(x, 0); windows stay in a group."""
    start, i, mask = _numbers(pixels, maps, group, rows, width)
    a = _rectified(x + start + i, mask, relu)
    power, _ = _powers(tl.fma(_window_sums(a * a, group, half, rows, width), alpha, k), beta, roots)
    tl.store(y + start + i, (a * power).to(y.dtype.element_ty), mask=mask)


@triton.jit
def _normalize_gradient(
    x: tl.tensor,
    g: tl.tensor,
    dx: tl.tensor,
    pixels: tl.tensor,
    alpha: tl.tensor,
    beta: tl.tensor,
    k: tl.tensor,
    maps: tl.constexpr,
    group: tl.constexpr,
    half: tl.constexpr,
    relu: tl.constexpr,
    roots: tl.constexpr,
    rows: tl.constexpr,
    width: tl.constexpr,
):
    """dx for the gradient g of y: g / scale^beta - 2 alpha beta a * window sum of g a / scale^(beta + 1)."""
    start, i, mask = _numbers(pixels, maps, group, rows, width)
    a = _rectified(x + start + i, mask, relu)
    power, inverse = _powers(tl.fma(_window_sums(a * a, group, half, rows, width), alpha, k), beta, roots)
    direct = tl.load(g + start + i, mask=mask, other=0.0).to(tl.float32) * power
    ratio = tl.where(mask, direct * a * inverse, 0.0)
    total = tl.fma(-2 * alpha * beta * a, _window_sums(ratio, group, half, rows, width), direct)
    if relu:
        total = tl.where(a <= 0, 0.0, total)
    tl.store(dx + start + i, total.to(dx.dtype.element_ty), mask=mask)


@triton.jit
def _numbers(pixels: tl.tensor, maps: tl.constexpr, group: tl.constexpr, rows: tl.constexpr, width: tl.constexpr):
    """A program's numbers (rows, width): start (int64, may exceed 2^31), offsets from there, and which exist."""
    first = tl.program_id(0).to(tl.int64) * rows
    row, column = tl.arange(0, rows)[:, None], tl.arange(0, width)[None, :]
    return first * maps + tl.program_id(1) * group, row * maps + column, (row < pixels - first) & (column < group)


@triton.jit
def _rectified(pointers: tl.tensor, mask: tl.tensor, relu: tl.constexpr):
    """Load and rectify as float32; 0 outside the mask."""
    a = tl.load(pointers, mask=mask, other=0.0).to(tl.float32)
    if relu:
        a = tl.where(a < 0, 0.0, a)  # NaN stays NaN
    return a


@triton.jit
def _window_sums(numbers: tl.tensor, group: tl.constexpr, half: tl.constexpr, rows: tl.constexpr, width: tl.constexpr):
    """Sums over 2 half + 1 columns of numbers (rows, width) that are 0 from column `group` on."""
    column = tl.arange(0, width)[None, :]
    sums = numbers
    for j in tl.static_range(1, half + 1):
        if j < width:
            before, after = column - j, column + j
            left = tl.gather(numbers, tl.broadcast_to(before & (width - 1), [rows, width]), 1)
            right = tl.gather(numbers, tl.broadcast_to(after & (width - 1), [rows, width]), 1)
            if width < group + j:  # otherwise the wrapped numbers are the zeros after the group
                left = tl.where(before < 0, 0.0, left)
                right = tl.where(after >= width, 0.0, right)
            sums += left + right
    return sums


@triton.jit
def _powers(scale: tl.tensor, beta: tl.tensor, roots: tl.constexpr):
    """scale^-beta and 1 / scale, both 0 where the scale has overflowed."""
    if roots:  # for beta = 0.75
        root = tl.rsqrt(tl.sqrt(scale))
        square = root * root
        power, inverse = square * root, square * square
    else:
        power, inverse = tl.exp2(-beta * tl.log2(scale)), 1 / scale
    return power, inverse
