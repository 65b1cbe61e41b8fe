"""Local response normalisation across maps (paper, section 3.3), with its own backward pass.

b = a / scale^power, scale = k + factor * (sum of a^2 over a window of maps, cut at the ends and at column borders).
torch's own takes ten passes over memory, and a pow per element, where the arithmetic is next to nothing. Here the
window sum is a product with a small band matrix, the paper's power is two reciprocal square roots, and rows are taken
in chunks that stay in the cache, so that memory is read and written about once. Backward:

    da = g * scale^-power - 2 * factor * power * a * band(g * b / scale)
"""

from typing import Any

import torch
from torch import Tensor, nn

# Pixels (rows of maps) at once on a CPU: 2048 x 96 floats are 0.8 MB; 256 and 8192 took half as long again.
CPU_CHUNK = 2048


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
        self.factor, self.power, self.k, self.groups, self.relu = factor, power, k, groups, relu
        self.register_buffer("band", band_matrix(maps // groups, size), persistent=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Same shape and dtype; sums are taken in float32 (float64 for float64)."""
        result: Tensor = _ResponseNorm.apply(  # type: ignore[no-untyped-call]
            x_NCHW, self.band, self.factor, self.power, self.k, self.groups, self.relu
        )
        return result


def band_matrix(maps: int, size: int) -> Tensor:
    """1 where two of `maps` maps lie in one window of `size`, else 0; float32 (maps, maps), symmetric."""
    if size % 2 == 0:
        raise ValueError(f"a window of {size} maps has no middle; use an odd size")
    i = torch.arange(maps)
    return ((i[:, None] - i[None, :]).abs() <= size // 2).float()


def _inverse_power(scale: Tensor, power: float) -> Tensor:
    if power == 0.75:
        # scale^(1/4) / scale: torch's sqrt and pow cost ten times its rsqrt.
        return scale.rsqrt().rsqrt_().div_(scale)
    return scale.pow(-power)


def _window_sums(x_PC: Tensor, band: Tensor, groups: int, out: Tensor) -> Tensor:
    """Sums over windows, group by group: the matrix between groups is zero, so it is not multiplied by."""
    size = x_PC.shape[1] // groups
    for start in range(0, x_PC.shape[1], size):
        part = slice(start, start + size)
        torch.mm(x_PC[:, part], band, out=out[:, part])
    return out


class _ResponseNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_NCHW: Tensor, band: Tensor, factor: float, power: float, k: float, groups: int, relu: bool
    ) -> Tensor:
        n, c, h, w = x_NCHW.shape
        wide = torch.promote_types(x_NCHW.dtype, torch.float32)
        x_PC = x_NCHW.permute(0, 2, 3, 1).reshape(-1, c)  # a view when channels come last
        band = (band * factor).to(wide)
        b_PC, scale_PC = torch.empty_like(x_PC), torch.empty_like(x_PC, dtype=wide)
        step = CPU_CHUNK if x_NCHW.device.type == "cpu" else max(len(x_PC), 1)
        for start in range(0, len(x_PC), step):
            rows = slice(start, start + step)
            a = _rectified(x_PC[rows].to(wide), relu)
            scale = _window_sums(a.square(), band, groups, out=scale_PC[rows]).add_(k)
            torch.mul(_inverse_power(scale, power), a, out=b_PC[rows])
        ctx.save_for_backward(x_PC, scale_PC, band)
        ctx.shape, ctx.power, ctx.groups, ctx.relu, ctx.step = (n, h, w, c), power, groups, relu, step
        return b_PC.view(n, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x_PC, scale_PC, band = ctx.saved_tensors
        n, h, w, c = ctx.shape
        g_PC = gradients[0].permute(0, 2, 3, 1).reshape(-1, c)
        da_PC = torch.empty_like(x_PC)
        for start in range(0, len(x_PC), ctx.step):
            rows = slice(start, start + ctx.step)
            a, scale = _rectified(x_PC[rows].to(scale_PC.dtype), ctx.relu), scale_PC[rows]
            direct = _inverse_power(scale, ctx.power).mul_(g_PC[rows])
            ratio = (direct * a).div_(scale)
            across = _window_sums(ratio, band, ctx.groups, out=torch.empty_like(ratio))
            da = torch.addcmul(direct, across, a, value=-2 * ctx.power, out=da_PC[rows])
            if ctx.relu:
                torch.ops.aten.threshold_backward.grad_input(da, x_PC[rows], 0, grad_input=da)
        return da_PC.view(n, h, w, c).permute(0, 3, 1, 2), None, None, None, None, None, None


def _rectified(x: Tensor, relu: bool) -> Tensor:
    return x.relu() if relu else x
