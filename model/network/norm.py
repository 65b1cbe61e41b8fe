"""Local response normalization across maps (paper, section 3.3), with a custom backward pass.

b = a / scale^beta, scale = k + alpha * (sum of a^2 over a window of maps, clipped at the ends and at column borders).

    da = g * scale^-beta - 2 * alpha * beta * a * window sum of (g * b / scale)

torch's implementation makes ten passes over memory and computes a pow per element, although there is little arithmetic.
The kernels here read and write once: those of `norm_kernels.py` on a CPU, those of `gpu/norm.py` on a GPU. If the
latter cannot run, and for float64, the window sum is a product with a small band matrix, and the power for the paper's
beta is computed by two reciprocal square roots.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ..gpu.available import kernels_run
from ..gpu.band import by_band


class Constants(NamedTuple):
    """The constants of one layer's formula, as passed to both passes; see `ResponseNorm`."""

    size: int
    alpha: float
    beta: float
    k: float
    groups: int
    relu: bool


class ResponseNorm(nn.Module):
    """Normalize x (N, maps, H, W) over windows of `size` maps that never cross between the `groups` equal groups.

    With `relu`, the input is rectified first, in the same pass. Raises InputError if `size` is even or the maps do not
    divide into the groups.
    """

    def __init__(
        self, maps: int, *, size: int, alpha: float, beta: float, k: float, groups: int = 1, relu: bool = False
    ) -> None:
        super().__init__()
        if groups < 1 or maps % groups:
            raise InputError(f"{maps} maps cannot be divided into {groups} groups")
        if size < 1 or size % 2 == 0:
            raise InputError(f"a window of {size} maps has no center; use an odd size of 1 or more")
        self.maps = maps
        self.constants = Constants(size=size, alpha=alpha, beta=beta, k=k, groups=groups, relu=relu)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Same shape and dtype; sums are in float32 (float64 for float64). Raises InputError for another shape."""
        if x_NCHW.ndim != 4 or x_NCHW.shape[1] != self.maps:
            raise InputError(f"this layer normalizes (N, {self.maps}, H, W), got {tuple(x_NCHW.shape)}")
        result: Tensor = torch.ops.alexkit.response_norm(x_NCHW, *self.constants)
        return result


# Custom operators, so that torch.compile, torch.export and torch.jit.trace treat each as one node instead of failing at
# the compiled loops inside. Not `torch.library.custom_op`, whose first call imports the compiler, which adds three
# seconds to every start.
_LIBRARY = torch.library.Library("alexkit", "FRAGMENT")  # type: ignore[no-untyped-call]
_NUMBERS = "int size, float alpha, float beta, float k, int groups, bool relu"


def _response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int, relu: bool) -> Tensor:
    constants = Constants(size, alpha, beta, k, groups, relu)
    x_PC = _rows(x)
    return _maps((_compiled if x.is_cpu else _on_gpu)(x_PC, None, constants), x)


def _response_norm_gradient(
    x: Tensor, gradient: Tensor, size: int, alpha: float, beta: float, k: float, groups: int, relu: bool
) -> Tensor:
    constants = Constants(size, alpha, beta, k, groups, relu)
    return _maps((_compiled if x.is_cpu else _on_gpu)(_rows(x), _rows(gradient), constants), x)


def _like(x: Tensor, *others: Any) -> Tensor:
    """The fake implementation of both, from which compilers learn the shape."""
    return _maps(x.new_empty(x.shape[0] * x.shape[2] * x.shape[3], x.shape[1]), x)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.constants = inputs[1:]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    (x,) = ctx.saved_tensors
    da: Tensor = torch.ops.alexkit.response_norm_gradient(x, gradient, *ctx.constants)
    return (da, *[None] * len(ctx.constants))


for _name, _function, _inputs in (
    ("response_norm", _response_norm, "Tensor x"),
    ("response_norm_gradient", _response_norm_gradient, "Tensor x, Tensor gradient"),
):
    _LIBRARY.define(f"{_name}({_inputs}, {_NUMBERS}) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
    _LIBRARY.impl(_name, _function, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"alexkit::{_name}", _like, lib=_LIBRARY)
torch.library.register_autograd("alexkit::response_norm", _backward, setup_context=_save, lib=_LIBRARY)


def plain_decompositions() -> dict[Any, Any]:
    """The operator in terms of torch's own, for `run_decompositions`, so that exported files run without alexkit."""
    return {torch.ops.alexkit.response_norm.default: _plain}


def _plain(x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int, relu: bool) -> Tensor:
    a = x.relu() if relu else x
    # torch's own divides alpha by the window size and does not know columns.
    parts = [F.local_response_norm(part, size, alpha * size, beta, k) for part in a.chunk(groups, dim=1)]
    return torch.cat(parts, dim=1) if groups > 1 else parts[0]


def _rows(x_NCHW: Tensor) -> Tensor:
    """(pixels, maps); a view if the memory format is channels last."""
    return x_NCHW.permute(0, 2, 3, 1).reshape(-1, x_NCHW.shape[1])


def _maps(rows_PC: Tensor, like_NCHW: Tensor) -> Tensor:
    n, c, h, w = like_NCHW.shape
    return rows_PC.view(n, h, w, c).permute(0, 3, 1, 2)


def _compiled(x_PC: Tensor, g_PC: Tensor | None, constants: Constants) -> Tensor:
    """The normalized rows, or, given their gradient `g_PC`, the gradient of `x_PC`."""
    from .norm_kernels import normalize, normalize_gradient, team

    # bfloat16 is read and written directly; float16, which is meant for GPUs, is converted to float32.
    is_bf16 = x_PC.dtype == torch.bfloat16
    wide = torch.bfloat16 if is_bf16 else torch.promote_types(x_PC.dtype, torch.float32)
    inputs = [rows.detach().to(wide).contiguous() for rows in (x_PC, g_PC) if rows is not None]
    result = torch.empty_like(inputs[0])
    arrays = [(rows.view(torch.uint16) if is_bf16 else rows).numpy() for rows in (*inputs, result)]
    size, alpha, beta, k, groups, relu = constants
    numbers = np.array([alpha, beta, k], np.float64 if wide == torch.float64 else np.float32)
    kernel: Callable[..., None] = normalize if g_PC is None else normalize_gradient
    group = x_PC.shape[1] // groups
    team(torch.get_num_threads()).run(kernel, len(result), *arrays, numbers, group, size, relu)
    return result.to(x_PC.dtype)


def _on_gpu(x_PC: Tensor, g_PC: Tensor | None, constants: Constants) -> Tensor:
    if x_PC.dtype == torch.float64 or not kernels_run(x_PC.device):
        return by_band(x_PC, g_PC, constants)
    return _by_triton(x_PC, g_PC, constants)


def _by_triton(x_PC: Tensor, g_PC: Tensor | None, constants: Constants) -> Tensor:
    from ..gpu.norm import normalize, normalize_gradient

    if g_PC is None:
        return normalize(x_PC.contiguous(), constants)
    return normalize_gradient(x_PC.contiguous(), g_PC.contiguous(), constants)
