"""The paper's update: v <- momentum * v - rate * (decay * w + g), w <- w + v (section 5).

torch.optim.SGD accumulates gradients and multiplies by the rate afterwards. The two agree while the rate is constant,
but after a drop the paper's velocity still carries the old, larger steps.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, cast, overload

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from ...errors import InputError
from ..gpu.available import kernels_run
from ..gpu.part import Factors, Part, is_flat
from ..network.columns import memory_order

# With fewer elements per thread, threads cost more than they save.
NUMBERS_PER_THREAD = 2**16


class PaperSGD(Optimizer):
    """SGD with momentum and weight decay as printed in section 5, for any parameters.

    Args:
        params: Parameters, (name, parameter) pairs, or groups of them, as for all torch optimizers.
        lr: The learning rate, at least 0; at 0, a group's parameters and momentum stay unchanged.
        momentum: The fraction of the last update that is kept, at least 0 and below 1.
        weight_decay: The decay inside the update, at least 0.

    The state of a parameter is `momentum_buffer`, its last update. Raises InputError if a number is out of range.

    A float32 parameter may have a bfloat16 copy that the network computes with; see `copies`. The parameter is then the
    master, which keeps what bfloat16 would round away.
    """

    # torch wraps these to exclude them from torch.compile, for which it imports the compiler; that takes three seconds.
    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)

    copies: dict[Tensor, Tensor]
    """bfloat16 copies by parameter. If a parameter has no gradient, that of its copy is used, and every update rounds
    the parameter into the copy."""
    held: Tensor | None
    """A bool scalar on the parameters' device; while it is True, `step` changes nothing. The host does not read it if
    all parameters are updated by the GPU's kernel."""
    _launches: Any = None  # updates parameters on a GPU

    def __init__(self, params: Any, lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        for name, value, below in (("lr", lr, None), ("momentum", momentum, 1), ("weight_decay", weight_decay, None)):
            if not value >= 0 or (below is not None and value >= below):
                raise InputError(f"{name} must be at least 0{f' and below {below}' if below else ''}, got {value}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.copies, self.held = {}, None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore from a copy or a pickle, in which torch keeps only groups and state."""
        super().__setstate__(state)
        self.__dict__.setdefault("copies", {})
        self.__dict__.setdefault("held", None)

    def momentum_buffer(self, parameter: Tensor) -> Tensor:
        """The last update of a parameter; zeros before the first."""
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        order = memory_order(parameter)
        if not buffer.is_contiguous(memory_format=order) and parameter.is_contiguous(memory_format=order):
            # Loaded from a file written by a network with another memory format.
            buffer = state["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
        return buffer

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        devices = {parameter.device for group in self.param_groups for parameter in group["params"]}
        if len(devices) == 1 and kernels_run(devices.pop()):
            self._update_on_gpu()
        elif not self._is_held():
            for part in self._parts():
                _update(*part)
        return loss

    def _is_held(self) -> bool:
        return self.held is not None and bool(self.held)

    def gradient(self, parameter: Tensor) -> Tensor | None:
        """The gradient that the next step uses: the parameter's own or that of its copy."""
        copy = self.copies.get(parameter)
        return parameter.grad if copy is None or parameter.grad is not None else copy.grad

    def _parts(self) -> Iterator[Part]:
        """The tensors of the update, for every parameter that has a gradient and is not frozen."""
        for group in self.param_groups:
            factors = (group["momentum"], -group["lr"] * group["weight_decay"], -group["lr"])
            for parameter in group["params"] if group["lr"] else ():
                if (gradient := self.gradient(parameter)) is None:
                    continue
                copy, order, v = self.copies.get(parameter), memory_order(parameter), self.momentum_buffer(parameter)
                if not parameter.is_contiguous(memory_format=order):  # e.g. a transposed weight: not flattened
                    yield Part(parameter, v, gradient, copy, factors)
                    continue
                # Gradients of channels-last weights are made channels-last too, so that flat views match.
                g = flat(gradient.contiguous(memory_format=order), order)
                flat_copy = None if copy is None else flat(copy, order)
                yield Part(flat(parameter), flat(v, order), g, flat_copy, factors)

    def _update_on_gpu(self) -> None:
        from ..gpu import update

        self._launches = self._launches or update.Update()
        parts = list(self._parts())
        fitting = [update.fits(part) for part in parts]
        self._launches([part for part, fits in zip(parts, fitting, strict=True) if fits], self.held)
        if not all(fitting) and not self._is_held():
            for part, fits in zip(parts, fitting, strict=True):
                if not fits:
                    _update(*part)


def _update(w: Tensor, v: Tensor, g: Tensor, copy: Tensor | None, factors: Factors) -> None:
    """Update one parameter's weights and momentum, and round the weights into `copy`."""
    if is_flat(w) and w.is_cpu and w.dtype == v.dtype == torch.float32 and g.dtype in (torch.float32, torch.bfloat16):
        in_one_pass(w, v, g, copy, factors)
        return
    momentum, decay, rate = factors
    v.mul_(momentum).add_(w, alpha=decay)
    w.add_(v.add_(g, alpha=rate))
    if copy is not None:
        copy.copy_(w)


def in_one_pass(w: Tensor, v: Tensor, g: Tensor, copy: Tensor | None, factors: Factors) -> None:
    """Update flat float32 weights and momentum on a CPU with a float32 or bfloat16 gradient.

    `copy` receives the weights rounded to bfloat16. `factors` apply to the momentum, the weights and the gradient.
    """
    from ..network.norm_kernels import team
    from .update_kernels import update, update_rounded

    kernel, tensors = cast(Callable[..., None], update), [w.detach(), v, g]
    if g.dtype == torch.bfloat16:
        kernel, tensors = update_rounded, [*tensors, torch.empty_like(g) if copy is None else copy]
    arrays = [(x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).detach().numpy() for x in tensors]
    arguments = (*arrays, *map(np.float32, factors))
    if w.numel() < 2 * NUMBERS_PER_THREAD:
        kernel(*arguments, 0, w.numel())
    else:
        team(torch.get_num_threads()).run(kernel, w.numel(), *arguments)
    if copy is not None and g.dtype != torch.bfloat16:
        copy.copy_(w)


def flat(x: Tensor, order: torch.memory_format | None = None) -> Tensor:
    """A flat view of a dense tensor, in memory order."""
    order = order or memory_order(x)
    return x.permute(0, 2, 3, 1).reshape(-1) if order is torch.channels_last else x.view(-1)
