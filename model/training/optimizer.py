"""The paper's update: v <- momentum * v - rate * (decay * w + g), w <- w + v (section 5).

torch.optim.SGD keeps a sum of gradients and multiplies by the rate outside; the two agree while the rate is constant,
but after a drop the paper's velocity still carries the old, larger steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..network.columns import memory_order

# Numbers at once on a CPU: weight, velocity and gradient of a chunk stay in the cache for the four operations.
CPU_CHUNK = 2**17


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """One parameter's factor on the learning rate, and its weight decay."""

    rate: float
    decay: float


class MomentumUpdate:
    """Velocities of a network's parameters, by name; `apply` makes one step from the gradients."""

    def __init__(self, network: nn.Module, paces: Mapping[str, Pace], momentum: float) -> None:
        self.parameters = dict(network.named_parameters())
        assert self.parameters.keys() == paces.keys()
        self.paces, self.momentum = paces, momentum
        self.velocities = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def apply(self, rate: float) -> None:
        """Update every parameter in place; `rate` is the step's learning rate before the parameters' own factors."""
        for name, parameter in self.parameters.items():
            assert parameter.grad is not None
            own_rate = rate * self.paces[name].rate
            if own_rate == 0:
                continue  # frozen
            # Gradients of channels-last weights come channels-last: the same memory order, so flat views agree.
            w, v = _flat(parameter), _flat(self.velocities[name])
            g = _flat(parameter.grad.contiguous(memory_format=memory_order(parameter)))
            step = CPU_CHUNK if w.device.type == "cpu" else max(w.numel(), 1)
            for start in range(0, w.numel(), step):
                part = slice(start, start + step)
                v[part].mul_(self.momentum).add_(w[part], alpha=-own_rate * self.paces[name].decay)
                w[part].add_(v[part].add_(g[part], alpha=-own_rate))


def _flat(x: Tensor) -> Tensor:
    """All numbers of a dense tensor in memory order, as a view."""
    return x.permute(0, 2, 3, 1).reshape(-1) if memory_order(x) is torch.channels_last else x.view(-1)
