import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from alexkit.model.training.optimizer import NUMBERS_PER_THREAD, PaperSGD


def printed_update(w: Tensor, v: Tensor, g: Tensor, *, rate: float, decay: float) -> tuple[Tensor, Tensor]:
    """Section 5 of the paper."""
    v = 0.9 * v - decay * rate * w - rate * g
    return w + v, v


@pytest.mark.parametrize("channels_last", [False, True])
def test_steps_are_those_that_the_paper_prints_also_after_the_rate_drops(channels_last: bool) -> None:
    network = nn.Conv2d(3, 4, 3).double()
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    groups = [{"params": [network.weight], "weight_decay": 0.0005}, {"params": [network.bias]}]
    ours = PaperSGD(groups, lr=0.1)
    expected = [(p.detach().clone(), torch.zeros_like(p)) for p in (network.weight, network.bias)]
    for step, rate in enumerate([0.1, 0.1, 0.01, 0.01]):
        for i, (group, factor) in enumerate(zip(ours.param_groups, (1, 2), strict=True)):
            (parameter,) = group["params"]
            # A gradient in another memory order than its weight is legal.
            parameter.grad = torch.randn(parameter.shape, dtype=torch.float64)
            group["lr"] = factor * rate
            w, v = expected[i]
            expected[i] = printed_update(w, v, parameter.grad, rate=factor * rate, decay=group["weight_decay"])
        ours.step()
        for parameter, (w, v) in zip((network.weight, network.bias), expected, strict=True):
            assert torch.allclose(parameter, w, rtol=1e-12), step
            assert torch.allclose(ours.state[parameter]["momentum_buffer"], v, rtol=1e-10), step


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.randn(4, 3).t(),
        lambda: torch.randn(4, 8)[:, ::2],
        lambda: torch.randn(2, 3, 2, 2, 2).to(memory_format=torch.channels_last_3d),
    ],
    ids=["transposed", "every second", "channels last in 3 dimensions"],
)
def test_parameters_in_any_memory_order_take_the_same_steps(make: Callable[[], Tensor]) -> None:
    there = nn.Parameter(make())
    usual = nn.Parameter(there.detach().clone(memory_format=torch.contiguous_format))
    optimizers = [PaperSGD([parameter], lr=0.1, weight_decay=0.01) for parameter in (there, usual)]
    for _ in range(3):
        gradient = torch.randn(there.shape)
        for parameter, optimizer in zip((there, usual), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert torch.equal(there, usual)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_state_that_a_network_in_another_memory_order_saved_goes_on_with_the_same_steps(dtype: torch.dtype) -> None:
    there = nn.Conv2d(3, 4, 3, bias=False, dtype=dtype)
    here = deepcopy(there).to(memory_format=torch.channels_last)
    optimizers = [PaperSGD(network.parameters(), lr=0.1) for network in (there, here)]
    gradients = [torch.randn(4, 3, 3, 3, dtype=dtype) for _ in range(2)]
    there.weight.grad = gradients[0]
    optimizers[0].step()
    here.load_state_dict(there.state_dict())
    optimizers[1].load_state_dict(deepcopy(optimizers[0].state_dict()))
    for network, optimizer in zip((there, here), optimizers, strict=True):
        network.weight.grad = gradients[1].clone()
        optimizer.step()
    assert torch.equal(there.weight, here.weight)


def test_a_constant_rate_is_torchs_sgd_and_a_drop_is_not() -> None:
    torch.manual_seed(0)
    ours_net, torchs_net = nn.Linear(5, 3).double(), nn.Linear(5, 3).double()
    torchs_net.load_state_dict(ours_net.state_dict())
    ours = PaperSGD(ours_net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.0005)
    torchs = torch.optim.SGD(torchs_net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.0005)

    def step(rate: float) -> None:
        for mine, other in zip(ours_net.parameters(), torchs_net.parameters(), strict=True):
            mine.grad = torch.ones_like(mine)
            other.grad = torch.ones_like(other)
        for one in (ours, torchs):
            one.param_groups[0]["lr"] = rate
            one.step()

    for _ in range(5):
        step(0.1)
    assert torch.allclose(ours_net.weight, torchs_net.weight, rtol=1e-12)
    step(0.01)
    # The paper's velocity still carries the steps of the old rate.
    assert (ours_net.weight - torchs_net.weight).abs().min() > 0.1


def test_a_rate_of_zero_freezes_a_parameter_and_one_without_a_gradient_stands_still() -> None:
    network = nn.Linear(2, 2)
    before = {name: x.detach().clone() for name, x in network.named_parameters()}
    ours = PaperSGD([{"params": [network.weight], "lr": 0.0}, {"params": [network.bias]}], lr=0.1, weight_decay=0.1)
    network.weight.grad = torch.ones_like(network.weight)
    ours.step()
    assert all(torch.equal(x, before[name]) for name, x in network.named_parameters())


def test_it_is_an_optimizer_of_torch_whose_state_can_be_saved_and_loaded_and_whose_rate_can_be_scheduled() -> None:
    networks = [nn.Linear(3, 2), nn.Linear(3, 2)]
    networks[1].load_state_dict(networks[0].state_dict())
    first, second = (PaperSGD(network.parameters(), lr=0.1) for network in networks)

    def step(network: nn.Module, own: PaperSGD) -> None:
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        own.step()

    step(networks[0], first)
    networks[1].load_state_dict(networks[0].state_dict())
    second.load_state_dict(deepcopy(first.state_dict()))
    scheduler = torch.optim.lr_scheduler.StepLR(second, 1, gamma=0.5)
    for network, own in zip(networks, (first, second), strict=True):
        step(network, own)
    scheduler.step()
    assert all(torch.equal(a, b) for a, b in zip(*(network.parameters() for network in networks), strict=True))
    assert second.param_groups[0]["lr"] == 0.05


def test_a_copy_of_an_optimizer_goes_on_by_itself() -> None:
    network = nn.Linear(3, 2)
    ours = PaperSGD(network.parameters(), lr=0.1)
    network(torch.ones(1, 3)).sum().backward()
    network, other = deepcopy((network, ours))
    network(torch.ones(1, 3)).sum().backward()
    before = network.weight.clone()
    other.step()
    assert not torch.equal(network.weight, before)


def torchs_update(w: Tensor, v: Tensor, g: Tensor, *, rate: float, momentum: float, decay: float) -> None:
    """The update in torch's own operations, in place."""
    v.mul_(momentum).add_(w, alpha=-rate * decay)
    w.add_(v.add_(g, alpha=-rate))


HAS_FMA = not Path("/proc/cpuinfo").exists() or " fma " in Path("/proc/cpuinfo").read_text()


@pytest.mark.skipif(not HAS_FMA, reason="torch rounds twice where a processor cannot fuse product and sum")
@pytest.mark.parametrize("size", [1, 1003, 2 * NUMBERS_PER_THREAD + 7])
@pytest.mark.parametrize("decay", [0.0, 0.0005])
@pytest.mark.parametrize("gradients", [torch.float32, torch.bfloat16])
def test_on_a_cpu_one_pass_gives_every_bit_of_torchs_operations(
    size: int, decay: float, gradients: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(size)
    parameter = nn.Parameter(torch.randn(size, generator=generator))
    ours = PaperSGD([parameter], lr=0.0123, momentum=0.9, weight_decay=decay)
    copy = parameter.detach().bfloat16()
    ours.copies = {parameter: copy.requires_grad_()}
    w, v = parameter.detach().clone(), torch.zeros(size)
    for _ in range(3):
        g = torch.randn(size, generator=generator).to(gradients)
        learner = parameter if gradients == torch.float32 else copy
        learner.grad = g.clone()
        ours.step()
        torchs_update(w, v, g.float(), rate=0.0123, momentum=0.9, decay=decay)
        assert torch.equal(parameter, w) and torch.equal(ours.momentum_buffer(parameter), v)
        assert torch.equal(copy, w.bfloat16())


def test_copies_of_weights_in_another_memory_order_and_of_wild_numbers_are_rounded_alike() -> None:
    wild = [float("nan"), float("inf"), -float("inf"), 3.4e38, 1e-42, -0.0, 1.00390625, 1.01171875]
    parameter = nn.Parameter(torch.tensor(wild * 9).view(3, 2, 3, 4).contiguous(memory_format=torch.channels_last))
    ours = PaperSGD([parameter], lr=1.0)
    copy = parameter.detach().bfloat16().zero_().requires_grad_()
    copy.grad = torch.zeros(3, 2, 3, 4, dtype=torch.bfloat16)  # in the usual order
    ours.copies = {parameter: copy}
    ours.step()
    assert torch.equal(copy.nan_to_num(7.0), parameter.bfloat16().nan_to_num(7.0))


def test_a_first_step_imports_no_compiler_of_torch() -> None:
    script = (
        "import sys, torch\nfrom alexkit.model.training.optimizer import PaperSGD\n"
        "network = torch.nn.Linear(2, 2)\nours = PaperSGD(network.parameters(), lr=0.1)\n"
        "from alexkit.model.network.norm import ResponseNorm\n"
        "norm = ResponseNorm(2, size=1, alpha=1.0, beta=0.75, k=2.0)\n"
        "norm(network(torch.ones(1, 2)).view(1, 2, 1, 1)).sum().backward()\nours.step()\nours.zero_grad()\n"
        "ours.load_state_dict(ours.state_dict())\nprint('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("numbers", "words"),
    [({"lr": -1.0}, "lr must be at least 0, got -1"), ({"lr": 1.0, "momentum": 1.0}, "momentum must .*below 1, got 1")],
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PaperSGD(nn.Linear(1, 1).parameters(), **numbers)
