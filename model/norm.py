"""Local response normalisation across maps (paper, section 3.3), with its own backward pass.

b = a / scale^power, scale = k + factor * (sum of a^2 over a window of maps, cut at the ends and at column borders).

    da = g * scale^-power - 2 * factor * power * a * window sum of (g * b / scale)

torch's own takes ten passes over memory, and a pow per element, where the arithmetic is next to nothing. On a CPU
compiled loops read and write once (`norm_kernels.py`); on a GPU the window sum is a product with a small band matrix
and the paper's power two reciprocal square roots.
"""

from typing import Any

import torch
from torch import Tensor, nn


class ResponseNorm(nn.Module):
    """Normalise x (N, maps, H, W) over windows of `size` maps that never cross into another of `groups` equal groups.

    With `relu` the input is rectified first, in the same pass.
    """

    band: Tensor

    def __init__(
        self, maps: int, *, size: int, factor: float, power: float, k: float, groups: int = 1, relu: bool = False
    ) -> None:
        super().__init__()
        if maps % groups:
            raise ValueError(f"{maps} maps cannot be dealt to {groups} groups")
        self.constants = (size, factor, power, k, groups, relu)
        self.register_buffer("band", band_matrix(maps // groups, size), persistent=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Same shape and dtype; sums are taken in float32 (float64 for float64)."""
        result: Tensor = _ResponseNorm.apply(  # type: ignore[no-untyped-call]
            x_NCHW, self.band, *self.constants
        )
        return result


def band_matrix(maps: int, size: int) -> Tensor:
    """1 where two of `maps` maps lie in one window of `size`, else 0; float32 (maps, maps), symmetric."""
    if size % 2 == 0:
        raise ValueError(f"a window of {size} maps has no middle; use an odd size")
    i = torch.arange(maps)
    return ((i[:, None] - i[None, :]).abs() <= size // 2).float()


class _ResponseNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_NCHW: Tensor,
        band: Tensor,
        size: int,
        factor: float,
        power: float,
        k: float,
        groups: int,
        relu: bool,
    ) -> Tensor:
        n, c, h, w = x_NCHW.shape
        x_PC = x_NCHW.permute(0, 2, 3, 1).reshape(-1, c)  # a view when channels come last
        ctx.save_for_backward(x_PC, band)
        ctx.constants, ctx.shape = (size, factor, power, k, groups, relu), (n, h, w, c)
        b_PC = (_compiled if x_PC.is_cpu else _by_band)(x_PC, None, band, *ctx.constants)
        return b_PC.view(n, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x_PC, band = ctx.saved_tensors
        g_PC = gradients[0].permute(0, 2, 3, 1).reshape(-1, x_PC.shape[1])
        da_PC = (_compiled if x_PC.is_cpu else _by_band)(x_PC, g_PC, band, *ctx.constants)
        return da_PC.view(ctx.shape).permute(0, 3, 1, 2), None, None, None, None, None, None, None


def _compiled(
    x_PC: Tensor,
    g_PC: Tensor | None,
    band: Tensor,
    size: int,
    factor: float,
    power: float,
    k: float,
    groups: int,
    relu: bool,
) -> Tensor:
    """The normalised rows, or for the gradient `g_PC` of them the gradient of `x_PC`."""
    from .norm_kernels import normalise, normalise_gradient, team

    wide = torch.promote_types(x_PC.dtype, torch.float32)
    inputs = [rows.detach().to(wide).contiguous() for rows in (x_PC, g_PC) if rows is not None]
    result = torch.empty_like(inputs[0])
    arrays = [rows.numpy() for rows in (*inputs, result)]
    constants = (x_PC.shape[1] // groups, size, factor, power, k, relu)
    kernel = normalise if g_PC is None else normalise_gradient
    team(torch.get_num_threads()).run(kernel, len(result), *arrays, *constants)
    return result.to(x_PC.dtype)


def _by_band(
    x_PC: Tensor,
    g_PC: Tensor | None,
    band: Tensor,
    size: int,
    factor: float,
    power: float,
    k: float,
    groups: int,
    relu: bool,
) -> Tensor:
    """The same in torch's operations."""
    wide = torch.promote_types(x_PC.dtype, torch.float32)
    band = (band * factor).to(wide)
    x = x_PC.to(wide)
    a = x.relu() if relu else x
    scale = _window_sums(a.square(), band, groups).add_(k)
    if g_PC is None:
        return _inverse_power(scale, power).mul_(a).to(x_PC.dtype)
    direct = _inverse_power(scale, power).mul_(g_PC)
    across = _window_sums((direct * a).div_(scale), band, groups)
    da = torch.addcmul(direct, across, a, value=-2 * power)
    if relu:
        da = torch.ops.aten.threshold_backward(da, x, 0)
    return da.to(x_PC.dtype)


def _inverse_power(scale: Tensor, power: float) -> Tensor:
    if power == 0.75:
        # scale^(1/4) / scale: torch's sqrt and pow cost ten times its rsqrt.
        return scale.rsqrt().rsqrt_().div_(scale)
    return scale.pow(-power)


def _window_sums(x_PC: Tensor, band: Tensor, groups: int) -> Tensor:
    """Sums over windows, group by group: the matrix between groups is zero, so it is not multiplied by."""
    size = x_PC.shape[1] // groups
    sums = torch.empty_like(x_PC)
    for start in range(0, x_PC.shape[1], size):
        part = slice(start, start + size)
        torch.mm(x_PC[:, part], band, out=sums[:, part])
    return sums
