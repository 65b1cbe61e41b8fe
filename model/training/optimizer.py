"""The paper's update: v <- momentum * v - rate * (decay * w + g), w <- w + v (section 5).

torch.optim.SGD keeps a sum of gradients and multiplies by the rate outside; the two agree while the rate is constant,
but after a drop the paper's velocity still carries the old, larger steps.
"""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from ...errors import InputError
from ..network.columns import memory_order

# Numbers at once on a CPU: weight, momentum and gradient of a chunk stay in the cache for the four operations.
CPU_CHUNK = 2**17


class PaperSGD(Optimizer):
    """Momentum and weight decay as section 5 prints them, for any parameters.

    Args:
        params: Parameters, pairs of name and parameter, or groups of them, as all optimizers of torch take them.
        lr: The learning rate, at least 0; a group at 0 stands still, its momentum too.
        momentum: What remains of the last update, at least 0 and below 1.
        weight_decay: The decay inside the update, at least 0.

    The state of a parameter is `momentum_buffer`, its last update. Raises InputError for a number out of range.
    """

    def __init__(self, params: Any, lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        for name, value, below in (("lr", lr, None), ("momentum", momentum, 1), ("weight_decay", weight_decay, None)):
            if not value >= 0 or (below is not None and value >= below):
                raise InputError(f"{name} must be at least 0{f' and below {below}' if below else ''}, got {value}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def momentum_buffer(self, parameter: Tensor) -> Tensor:
        """The last update of a parameter; zeros before the first."""
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["lr"] == 0:
                continue  # frozen
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group["lr"], group["momentum"], group["weight_decay"])
        return loss

    def _update(self, parameter: Tensor, lr: float, momentum: float, weight_decay: float) -> None:
        assert parameter.grad is not None
        # Gradients of channels-last weights come channels-last: the same memory order, so flat views agree.
        w, v = _flat(parameter), _flat(self.momentum_buffer(parameter))
        g = _flat(parameter.grad.contiguous(memory_format=memory_order(parameter)))
        step = CPU_CHUNK if w.device.type == "cpu" else max(w.numel(), 1)
        for start in range(0, w.numel(), step):
            chunk = slice(start, start + step)
            v[chunk].mul_(momentum).add_(w[chunk], alpha=-lr * weight_decay)
            w[chunk].add_(v[chunk].add_(g[chunk], alpha=-lr))


def _flat(x: Tensor) -> Tensor:
    """All numbers of a dense tensor in memory order, as a view."""
    return x.permute(0, 2, 3, 1).reshape(-1) if memory_order(x) is torch.channels_last else x.view(-1)
