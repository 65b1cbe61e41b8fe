"""Local response normalisation across maps (paper, section 3.3), with its own backward pass.

b = a / scale^power, scale = k + factor * (sum of a^2 over a window of maps, cut at the ends and at column borders).
torch's own takes ten passes over memory, and a pow per element, where the arithmetic is next to nothing. Here the
window sum is a product with a small band matrix, the paper's power is two square roots, and rows are taken in chunks
that stay in the cache, so that memory is read and written about once. Backward:

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

    band_CC: Tensor

    def __init__(
        self, maps: int, *, size: int, factor: float, power: float, k: float, groups: int = 1, relu: bool = False
    ) -> None:
        super().__init__()
        self.factor, self.power, self.k, self.relu = factor, power, k, relu
        self.register_buffer("band_CC", band_matrix(maps, size, groups), persistent=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Same shape and dtype; sums are taken in float32 (float64 for float64)."""
        result: Tensor = _ResponseNorm.apply(  # type: ignore[no-untyped-call]
            x_NCHW, self.band_CC, self.factor, self.power, self.k, self.relu
        )
        return result


def band_matrix(maps: int, size: int, groups: int) -> Tensor:
    """1 where two of `maps` maps lie in one window of `size` and in one group; float32 (maps, maps), symmetric."""
    if maps % groups:
        raise ValueError(f"{maps} maps cannot be dealt to {groups} groups")
    if size % 2 == 0:
        raise ValueError(f"a window of {size} maps has no middle; use an odd size")
    i = torch.arange(maps)
    near = (i[:, None] - i[None, :]).abs() <= size // 2
    same = i[:, None] // (maps // groups) == i[None, :] // (maps // groups)
    return (near & same).float()


def _inverse_power(scale: Tensor, power: float) -> Tensor:
    if power == 0.75:
        root = scale.rsqrt()
        return root.sqrt().mul_(root)
    return scale.pow(-power)


class _ResponseNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor, band_CC: Tensor, factor: float, power: float, k: float, relu: bool) -> Tensor:
        n, c, h, w = x_NCHW.shape
        wide = torch.promote_types(x_NCHW.dtype, torch.float32)
        a_PC = x_NCHW.permute(0, 2, 3, 1).reshape(-1, c)  # a view when channels come last
        scaled_band = (band_CC * factor).to(wide)
        b_PC, scale_PC = torch.empty_like(a_PC), torch.empty_like(a_PC, dtype=wide)
        step = CPU_CHUNK if x_NCHW.device.type == "cpu" else max(len(a_PC), 1)
        for start in range(0, len(a_PC), step):
            rows = slice(start, start + step)
            a = a_PC[rows].to(wide)
            if relu:
                a = a.relu()
            scale = torch.mm(a.square(), scaled_band, out=scale_PC[rows]).add_(k)
            torch.mul(_inverse_power(scale, power), a, out=b_PC[rows])
        ctx.save_for_backward(a_PC, scale_PC, scaled_band)
        ctx.shape, ctx.power, ctx.relu, ctx.step = (n, h, w, c), power, relu, step
        return b_PC.view(n, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a_PC, scale_PC, scaled_band = ctx.saved_tensors
        n, h, w, c = ctx.shape
        g_PC = gradients[0].permute(0, 2, 3, 1).reshape(-1, c)
        da_PC = torch.empty_like(a_PC)
        for start in range(0, len(a_PC), ctx.step):
            rows = slice(start, start + ctx.step)
            a, scale = a_PC[rows].to(scale_PC.dtype), scale_PC[rows]
            if ctx.relu:
                a = a.relu()
            direct = _inverse_power(scale, ctx.power).mul_(g_PC[rows])
            across = torch.mm((direct * a).div_(scale), scaled_band)
            da = torch.addcmul(direct, across, a, value=-2 * ctx.power)
            if ctx.relu:
                da.masked_fill_(a <= 0, 0)
            da_PC[rows] = da
        return da_PC.view(n, h, w, c).permute(0, 3, 1, 2), None, None, None, None, None
