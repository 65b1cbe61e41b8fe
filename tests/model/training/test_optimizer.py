import pytest
import torch
from torch import Tensor, nn

from alexkit.model.training import optimizer
from alexkit.model.training.optimizer import MomentumUpdate, Pace


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
    paces = {"weight": Pace(rate=1.0, decay=0.0005), "bias": Pace(rate=2.0, decay=0.0)}
    ours = MomentumUpdate(network, paces, 0.9)
    expected = {name: (p.detach().clone(), torch.zeros_like(p)) for name, p in network.named_parameters()}
    for step, rate in enumerate([0.1, 0.1, 0.01, 0.01]):
        for name, parameter in network.named_parameters():
            # A gradient in another memory order than its weight is legal.
            parameter.grad = torch.randn(parameter.shape, dtype=torch.float64)
            w, v = expected[name]
            pace = paces[name]
            expected[name] = printed_update(w, v, parameter.grad, rate=rate * pace.rate, decay=pace.decay)
        ours.apply(rate)
        for name, parameter in network.named_parameters():
            assert torch.allclose(parameter, expected[name][0], rtol=1e-12), (step, name)
            assert torch.allclose(ours.velocities[name], expected[name][1], rtol=1e-10), (step, name)


def test_a_constant_rate_is_torchs_sgd_and_a_drop_is_not() -> None:
    torch.manual_seed(0)
    ours_net, torchs_net = nn.Linear(5, 3).double(), nn.Linear(5, 3).double()
    torchs_net.load_state_dict(ours_net.state_dict())
    ours = MomentumUpdate(ours_net, {name: Pace(rate=1.0, decay=0.0005) for name in ("weight", "bias")}, 0.9)
    torchs = torch.optim.SGD(torchs_net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.0005)

    def step(rate: float) -> None:
        for mine, other in zip(ours_net.parameters(), torchs_net.parameters(), strict=True):
            mine.grad = torch.ones_like(mine)
            other.grad = torch.ones_like(other)
        torchs.param_groups[0]["lr"] = rate
        ours.apply(rate)
        torchs.step()

    for _ in range(5):
        step(0.1)
    assert torch.allclose(ours_net.weight, torchs_net.weight, rtol=1e-12)
    step(0.01)
    # The paper's velocity still carries the steps of the old rate.
    assert (ours_net.weight - torchs_net.weight).abs().min() > 0.1


def test_a_rate_of_zero_freezes_a_parameter() -> None:
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()
    ours = MomentumUpdate(network, {"weight": Pace(rate=0.0, decay=0.1), "bias": Pace(rate=1.0, decay=0.0)}, 0.9)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    ours.apply(0.1)
    assert torch.equal(network.weight, before)
