from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from alexkit.model.training import optimizer
from alexkit.model.training.optimizer import PaperSGD


def printed_update(w: Tensor, v: Tensor, g: Tensor, *, rate: float, decay: float) -> tuple[Tensor, Tensor]:
    """Section 5 of the paper."""
    v = 0.9 * v - decay * rate * w - rate * g
    return w + v, v


@pytest.mark.parametrize("channels_last", [False, True])
def test_steps_are_those_that_the_paper_prints_also_after_the_rate_drops(
    channels_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizer, "CPU_CHUNK", 50)
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


@pytest.mark.parametrize(
    ("numbers", "words"),
    [({"lr": -1.0}, "lr must be at least 0, got -1"), ({"lr": 1.0, "momentum": 1.0}, "momentum must .*below 1, got 1")],
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PaperSGD(nn.Linear(1, 1).parameters(), **numbers)
