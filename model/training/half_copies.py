"""A network's parameters in bfloat16, to compute with, beside the float32 ones that learn.

An update is often smaller than the last place of a bfloat16 weight, so float32 masters keep it. The network's own
parameters are the masters: evaluation, checkpoints and everything else read them and know nothing of copies. Compared
with torch.autocast nothing is cast in a step: the update writes the copies, and gradients stay as they come.
"""

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from ..network.columns import memory_order
from ..network.layers import MaskKey
from ..network.network import Network
from .optimizer import flat


class HalfCopies:
    """Copies in bfloat16 of all parameters of `network`, each in the memory order of its master."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.by_master: dict[Tensor, Tensor] = {
            master: master.detach().bfloat16().requires_grad_() for master in network.parameters()
        }
        self._by_name = {name: self.by_master[master] for name, master in network.named_parameters()}

    def forward(self, images_NCHW: Tensor, masks: MaskKey) -> Tensor:
        """Logits in bfloat16 of float images, computed by the copies; a backward pass leaves its gradients there."""
        logits: Tensor = functional_call(self._network, self._by_name, (images_NCHW.bfloat16(), masks))
        return logits

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the masters into the copies: after the masters were changed by anything but the optimizer."""
        for master, copy in self.by_master.items():
            copy.copy_(master)

    def forget_gradients(self) -> None:
        """Leave no copy a gradient."""
        for copy in self.by_master.values():
            copy.grad = None

    @torch.no_grad()
    def move_gradients(self) -> None:
        """Add the copies' gradients to the masters' in float32, where several are summed up."""
        for master, copy in self.by_master.items():
            if copy.grad is not None:
                wide = copy.grad.float()
                master.grad = wide if master.grad is None else master.grad.add_(wide)
                copy.grad = None


def squared_norm(gradients: list[Tensor]) -> Tensor:
    """Sum of squares of all numbers, float32: of bfloat16 on a CPU in one pass, where torch takes six times as long."""
    if not all(g.is_cpu and g.dtype == torch.bfloat16 for g in gradients):
        dtype = torch.float32 if gradients[0].dtype == torch.bfloat16 else None
        return torch.stack(torch._foreach_norm(gradients, 2, dtype)).square().sum()
    from ..network.norm_kernels import team
    from .update_kernels import BLOCK, sum_squares

    total = 0.0
    for gradient in gradients:
        dense = gradient.contiguous(memory_format=memory_order(gradient))
        bits = flat(dense).view(torch.uint16).numpy()
        sums = np.empty(-(-bits.size // BLOCK), np.float32)
        if len(sums) < 8:
            sum_squares(bits, sums, 0, len(sums))
        else:
            team(torch.get_num_threads()).run(sum_squares, len(sums), bits, sums)
        total += float(sums.sum(dtype=np.float64))
    return torch.tensor(total, dtype=torch.float32)
