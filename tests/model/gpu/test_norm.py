"""The GPU's normalization by Triton's interpreter, against float64; that it compiles for a card."""

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from alexkit.model.network import norm
from alexkit.model.network.norm import Constants, ResponseNorm

Import = Callable[[str], ModuleType]


def by_autograd(x_PC: Tensor, g_PC: Tensor, constants: Constants) -> tuple[Tensor, Tensor]:
    """The printed formula in float64, map by map, and its derivative."""
    size, alpha, beta, k, groups, relu = constants
    x = x_PC.double().requires_grad_()
    a, group, columns = x.relu() if relu else x, x.shape[1] // groups, []
    for i in range(x.shape[1]):
        first = i // group * group
        window = a[:, max(first, i - size // 2) : min(first + group, i + size // 2 + 1)]
        columns.append(a[:, i] / (k + alpha * window.square().sum(1)) ** beta)
    y = torch.stack(columns, 1)
    y.backward(g_PC.double())
    assert x.grad is not None
    return y.detach(), x.grad


def rows(pixels: int, maps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(pixels)
    x, g = torch.randn(2, pixels, maps, generator=generator).unbind()
    return (30 * x).to(dtype), g.to(dtype)


# Half a unit in the last place, where something is rounded.
PLACES = {torch.float32: 2**-20, torch.bfloat16: 2**-8 * 1.01, torch.float16: 2**-11 * 1.01}


@pytest.mark.parametrize("dtype", PLACES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("pixels", "maps", "size", "groups", "beta"),
    [
        (37, 96, 5, 2, 0.75),  # conv1's maps, two programs of each group, the last ones with one pixel less or more
        (9, 256, 5, 1, 0.75),  # a row as wide as its power of two
        (5, 15, 3, 3, 0.6),  # odd everything
        (3, 6, 9, 2, 0.5),  # windows wider than a group
        (1, 7, 1, 1, 0.75),
        (2, 2, 3, 2, 0.75),  # groups of one map
    ],
)
def test_kernels_give_the_printed_formula_and_its_derivative(
    interpreted: Import, pixels: int, maps: int, size: int, groups: int, beta: float, relu: bool, dtype: torch.dtype
) -> None:
    kernels = interpreted("norm")
    constants = Constants(size=size, alpha=1e-3, beta=beta, k=2.0, groups=groups, relu=relu)
    x, g = rows(pixels, maps, dtype)
    y, dx = by_autograd(x, g, constants)
    found, gradient = kernels.normalize(x, constants), kernels.normalize_gradient(x, g, constants)
    assert found.dtype == gradient.dtype == dtype
    torch.testing.assert_close(found.double(), y, rtol=PLACES[dtype], atol=1e-7)
    torch.testing.assert_close(gradient.double(), dx, rtol=PLACES[dtype], atol=1e-6)


def test_the_layer_uses_them_in_any_memory_order(interpreted: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreted("norm")
    layer = ResponseNorm(6, size=5, alpha=1e-2, beta=0.75, k=2.0, groups=2, relu=True)
    x = torch.randn(2, 6, 3, 5, generator=torch.Generator().manual_seed(3)) * 5
    found = []
    for compute in (norm._compiled, norm._by_triton):
        monkeypatch.setattr(norm, "_compiled", compute)
        for order in (torch.contiguous_format, torch.channels_last):
            leaf = x.clone(memory_format=order).requires_grad_()
            layer(leaf).square().sum().backward()
            assert leaf.grad is not None
            found.append(leaf.grad)
    assert torch.equal(found[2], found[3])
    torch.testing.assert_close(found[2], found[0], rtol=1e-5, atol=1e-6)


def test_what_is_no_number_stays_so_and_what_overflows_becomes_zero(interpreted: Import) -> None:
    kernels = interpreted("norm")
    for beta in (0.75, 0.6):
        constants = Constants(size=1, alpha=1e-4, beta=beta, k=2.0, groups=1, relu=True)
        x, g = torch.tensor([[float("nan")], [3.0], [1e38], [-1.0]]), torch.full((4, 1), 10.0)
        y, dx = kernels.normalize(x, constants).flatten(), kernels.normalize_gradient(x, g, constants).flatten()
        assert y[0].isnan() and y[1] > 0 and y[2] == 0 and y[3] == 0
        assert dx[0].isnan() and dx[1] > 0 and dx[2] == 0 and dx[3] == 0


def test_no_rows_are_no_work(interpreted: Import) -> None:
    constants = Constants(size=5, alpha=1e-4, beta=0.75, k=2.0, groups=1, relu=False)
    assert interpreted("norm").normalize(torch.empty(0, 8), constants).shape == (0, 8)


def test_they_compile_for_a_card_to_wide_loads_one_rounding_and_long_offsets(compiled_for_a_card: Any) -> None:
    use, compile = compiled_for_a_card
    kernels = use("norm")
    shape = {"maps": 96, "group": 48, "half": 2, "relu": True, "roots": True, "rows": 32, "width": 64}
    numbers = dict.fromkeys(("alpha", "beta", "k"), "fp32") | {"pixels": "i32"}
    for kernel, names, loads in ((kernels._normalize, "x y", 1), (kernels._normalize_gradient, "x g dx", 2)):
        ptx = compile(kernel, numbers | dict.fromkeys(names.split(), "*bf16"), shape)
        assert ptx.count("ld.global.v4.b32") == 2 * loads  # of 8 numbers each
        assert re.search(r"cvt\.rn\.bf16(x2)?\.f32", ptx) and "rsqrt.approx" in ptx
        # Where a program starts, in 64 bits: by 32 rows of 96 maps.
        assert re.search(r"(mul|mad)\.(wide\.[us]32|lo\.s64) .*, 3072", ptx)
