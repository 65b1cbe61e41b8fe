"""Response normalization in torch's operations: the reference for Triton's kernels, and their fallback.

A window sum is a product with a small band matrix; the power for the paper's beta is two reciprocal square roots.
"""

import functools

import torch
from torch import Tensor

Constants = tuple[int, float, float, float, int, bool]
"""`network.norm.Constants`: size, alpha, beta, k, groups, relu."""


def by_band(x_PC: Tensor, g_PC: Tensor | None, constants: Constants) -> Tensor:
    """The normalized rows, or, given their gradient `g_PC`, the gradient of `x_PC`; same shape and dtype."""
    size, alpha, beta, k, groups, relu = constants
    wide = torch.promote_types(x_PC.dtype, torch.float32)
    band = _band_matrix(x_PC.shape[1] // groups, size, wide, x_PC.device) * alpha
    x = x_PC.to(wide)
    a = x.relu() if relu else x
    scale = _window_sums(a.square(), band).add_(k)
    if g_PC is None:
        return _inverse_power(scale, beta).mul_(a).to(x_PC.dtype)
    direct = _inverse_power(scale, beta).mul_(g_PC)
    across = _window_sums((direct * a).div_(scale), band)
    da = torch.addcmul(direct, across, a, value=-2 * beta)
    if relu:
        da = torch.ops.aten.threshold_backward(da, x, 0)
    return da.to(x_PC.dtype)


@functools.cache  # copied to a GPU once
def _band_matrix(maps: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1 if two of the `maps` maps are in the same window of `size`, otherwise 0; (maps, maps), symmetric."""
    i = torch.arange(maps)
    return ((i[:, None] - i[None, :]).abs() <= size // 2).to(device, dtype)


def _inverse_power(scale: Tensor, beta: float) -> Tensor:
    if beta == 0.75:
        # scale^(1/4) / scale: torch's sqrt and pow cost ten times its rsqrt.
        return scale.rsqrt().rsqrt_().div_(scale)
    return scale.pow(-beta)


def _window_sums(x_PC: Tensor, band: Tensor) -> Tensor:
    """Window sums, group by group: the matrix between groups is zero, so those products are skipped."""
    sums = torch.empty_like(x_PC)
    for start in range(0, x_PC.shape[1], len(band)):
        part = slice(start, start + len(band))
        torch.mm(x_PC[:, part], band, out=sums[:, part])
    return sums
