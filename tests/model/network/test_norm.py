import re

import pytest
import torch
from torch import Tensor, nn

from alexkit.model.network import norm
from alexkit.model.network.norm import ResponseNorm


def printed_formula(x_NCHW: Tensor, *, size: int, alpha: float, beta: float, k: float, groups: int) -> Tensor:
    """Section 3.3 of the paper, map by map, in float64."""
    x = x_NCHW.double()
    out = torch.empty_like(x)
    per_group = x.shape[1] // groups
    for i in range(x.shape[1]):
        first, last = i // per_group * per_group, (i // per_group + 1) * per_group - 1
        window = x[:, max(first, i - size // 2) : min(last, i + size // 2) + 1]
        out[:, i] = x[:, i] / (k + alpha * window.square().sum(1)) ** beta
    return out


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("alpha", "k", "beta"), [(1e-4, 2.0, 0.75), (1e-4 / 5, 2.0, 0.75), (2e-5, 1.0, 0.5)])
@pytest.mark.parametrize("scale", [1.0, 30.0, 200.0])
@pytest.mark.parametrize("by_band", [False, True], ids=["cpu", "as on a gpu"])
def test_float32_agrees_with_the_printed_formula(
    groups: int, alpha: float, k: float, beta: float, scale: float, by_band: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_band:
        monkeypatch.setattr(norm, "_compiled", norm.by_band)
    x = torch.randn(2, 24, 7, 9, generator=torch.Generator().manual_seed(0)) * scale
    settings = {"size": 5, "alpha": alpha, "beta": beta, "k": k, "groups": groups}
    expected = printed_formula(x, **settings)  # type: ignore[arg-type]
    found = ResponseNorm(24, **settings)(x.contiguous(memory_format=torch.channels_last))  # type: ignore[arg-type]
    assert ((found - expected).abs() / expected.abs()).max() < 2e-6


def test_torchs_own_agrees_when_its_factor_is_multiplied_by_the_window() -> None:
    x = torch.randn(1, 16, 3, 3, dtype=torch.float64) * 50
    ours = ResponseNorm(16, size=5, alpha=1e-4, beta=0.75, k=2.0).double()
    assert torch.allclose(ours(x), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)(x), rtol=1e-12)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("beta", [0.75, 0.6])
@pytest.mark.parametrize("by_band", [False, True], ids=["cpu", "as on a gpu"])
@pytest.mark.parametrize("size", [3, 5])
def test_the_backward_pass_is_the_derivative(
    relu: bool, beta: float, by_band: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_band:
        monkeypatch.setattr(norm, "_compiled", norm.by_band)
    layer = ResponseNorm(6, size=size, alpha=1e-2, beta=beta, k=2.0, groups=2, relu=relu).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 5
    assert torch.autograd.gradcheck(layer, (x.requires_grad_(),))


def test_the_number_of_threads_changes_no_bit_forward_or_back() -> None:
    x, gradient = torch.randn(2, 3, 8, 5, 7, generator=torch.Generator().manual_seed(2)) * 20
    layer = ResponseNorm(8, size=5, alpha=1e-2, beta=0.75, k=2.0, groups=2)
    threads, outputs, gradients = torch.get_num_threads(), [], []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        outputs.append(layer(x.requires_grad_()))
        gradients.append(torch.autograd.grad(outputs[-1], x, gradient)[0])
    torch.set_num_threads(threads)
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    assert all(torch.equal(found, gradients[0]) for found in gradients)


def test_rectifying_inside_is_rectifying_before() -> None:
    x = torch.randn(2, 8, 5, 5) * 20
    settings = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}
    assert torch.equal(
        ResponseNorm(8, relu=True, **settings)(x),  # type: ignore[arg-type]
        ResponseNorm(8, **settings)(x.relu()),  # type: ignore[arg-type]
    )


def test_memory_order_does_not_change_the_numbers() -> None:
    x = torch.randn(2, 8, 5, 5)
    layer = ResponseNorm(8, size=5, alpha=1e-4, beta=0.75, k=2.0)
    assert torch.equal(layer(x), layer(x.contiguous(memory_format=torch.channels_last)))


@pytest.mark.parametrize("size", [4, 0, -1])
def test_a_window_without_a_middle_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"window of {size} maps has no center; use an odd size"):
        ResponseNorm(8, size=size, alpha=1e-4, beta=0.75, k=2.0)


@pytest.mark.parametrize("groups", [3, 0, -1])
def test_groups_that_cannot_share_the_maps_are_refused(groups: int) -> None:
    with pytest.raises(ValueError, match=f"8 maps cannot be divided into {groups} groups"):
        ResponseNorm(8, size=5, alpha=1e-4, beta=0.75, k=2.0, groups=groups)


@pytest.mark.parametrize("shape", [(2, 7, 3, 3), (2, 16, 3, 3), (2, 8, 3), (8,)])
def test_other_maps_than_the_layers_own_are_refused(shape: tuple[int, ...]) -> None:
    layer = ResponseNorm(8, size=5, alpha=1e-4, beta=0.75, k=2.0, groups=2)
    with pytest.raises(ValueError, match=rf"normalizes \(N, 8, H, W\), got {re.escape(str(shape))}"):
        layer(torch.ones(shape))


def test_bfloat16_is_computed_in_float32_and_rounded_once() -> None:
    x = 40 * torch.randn(3, 96, 5, 7, generator=torch.Generator().manual_seed(1))
    x, g = x.bfloat16().requires_grad_(), torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).bfloat16()
    norm = ResponseNorm(96, size=5, alpha=1e-4, beta=0.75, k=2.0, groups=2, relu=True)
    wide = x.detach().float().requires_grad_()
    y, expected = norm(x), norm(wide)
    y.backward(g)
    expected.backward(g.float())
    assert wide.grad is not None and x.grad is not None and y.dtype == x.grad.dtype == torch.bfloat16
    # Half a unit in the last of 8 bits, and the last places of float32 where a value lies between two bfloat16.
    torch.testing.assert_close(y.float(), expected, rtol=2**-8, atol=0)
    torch.testing.assert_close(x.grad.float(), wide.grad, rtol=2**-8, atol=0)
    assert (y == expected.bfloat16()).float().mean() > 0.999


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [False, True])
def test_what_is_no_number_stays_so_and_what_overflows_becomes_zero(dtype: torch.dtype, relu: bool) -> None:
    norm = ResponseNorm(1, size=1, alpha=1e-4, beta=0.75, k=2.0, relu=relu)
    x = torch.tensor([float("nan"), 3.0, 1e38], dtype=dtype).view(3, 1, 1, 1)
    y = norm(x).flatten()
    assert y[0].isnan() and y[1] > 0 and y[2] == 0
