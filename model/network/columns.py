"""Which columns this process holds: all of them, or one of them.

A network asks its `Columns` to join activations where the columns meet in the paper's figure; otherwise it is unaware
of processes.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Columns:
    """All `number` columns in this process: nothing to join."""

    bytes_sent = 0  # to processes that hold other columns, forward and backward

    def __init__(self, number: int = 1) -> None:
        self.number = number
        self.held = range(number)  # the columns whose weights are in this process

    def join(self, x: Tensor) -> Tensor:
        """Join the activations of all columns along dimension 1; the backward pass sums the gradients."""
        return x

    def join_outputs(self, x: Tensor, num_outputs: int) -> Tensor:
        """Join the network's outputs, from which every process then computes the same loss."""
        return x

    def own_slice(self, num_outputs: int) -> slice:
        """The slice of a layer's outputs, along dimension 0 of its unsharded weights, that this process holds."""
        return slice(*(num_outputs * column // self.number for column in (self.held.start, self.held.stop)))

    def whole(self, own: Tensor, num_outputs: int) -> Tensor:
        """Gather an unsharded weight tensor from the processes' slices, without gradients."""
        return own


class ColumnProcesses(Columns):
    """One column per process of `group`, in rank order."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        super().__init__(dist.get_world_size(group))
        self.group, self.column = group, dist.get_rank(group)
        self.held = range(self.column, self.column + 1)

    def join(self, x: Tensor) -> Tensor:
        """Join along dimension 1. The backward pass sums all processes' gradients of this column's activations."""
        joined: Tensor = _Join.apply(x, self, None)  # type: ignore[no-untyped-call]
        return joined

    def join_outputs(self, x: Tensor, num_outputs: int) -> Tensor:
        """Join all outputs. Each process computes the whole loss from them, so gradients are sliced, not summed."""
        joined: Tensor = _Join.apply(x, self, num_outputs)  # type: ignore[no-untyped-call]
        return joined

    def whole(self, own: Tensor, num_outputs: int) -> Tensor:
        """Gather the unsharded tensor from all processes of the group; all must call this."""
        last_first = own.transpose(0, 1) if own.ndim > 1 else own[None]
        return self.gather(last_first, num_outputs).transpose(0, 1).reshape(num_outputs, *own.shape[1:])

    def gather(self, x: Tensor, total: int) -> Tensor:
        """Join along dimension 1; the columns' widths may differ by one."""
        widths = [(total * (i + 1)) // self.number - (total * i) // self.number for i in range(self.number)]
        widest = max(widths)
        if x.shape[1] < widest:  # all_gather needs equal sizes
            x = torch.cat([x, x.new_zeros(len(x), widest - x.shape[1], *x.shape[2:])], dim=1)
        x = x.contiguous()
        gathered = [torch.empty_like(x) for _ in widths]
        dist.all_gather(gathered, x, group=self.group)
        self.bytes_sent += x.nbytes * (self.number - 1)
        return torch.cat([one[:, :width] for one, width in zip(gathered, widths, strict=True)], dim=1)

    def exchange(self, chunks: list[Tensor]) -> list[Tensor]:
        """Send chunk i to column i and return the chunks received from the other columns."""
        received = []
        operations = []
        for column in range(self.number):
            if column == self.column:
                continue
            rank = dist.get_global_rank(self.group, column)
            received.append(torch.empty_like(chunks[self.column]))
            operations.append(dist.P2POp(dist.isend, chunks[column], rank, self.group))
            operations.append(dist.P2POp(dist.irecv, received[-1], rank, self.group))
            self.bytes_sent += chunks[column].nbytes
        for work in dist.batch_isend_irecv(operations):
            work.wait()
        return received


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, columns: ColumnProcesses, num_outputs: int | None) -> Tensor:
        total = num_outputs or x.shape[1] * columns.number
        ctx.columns, ctx.total, ctx.is_output = columns, total, num_outputs is not None
        return columns.gather(x, total).contiguous(memory_format=memory_order(x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        columns, (gradient,) = ctx.columns, gradients
        if ctx.is_output:
            return gradient[:, columns.own_slice(ctx.total)], None, None
        chunks = [chunk.contiguous() for chunk in gradient.chunk(columns.number, dim=1)]
        own = chunks[columns.column]
        for other in columns.exchange(chunks):
            own = own + other
        return own.contiguous(memory_format=memory_order(gradient)), None, None


def memory_order(x: Tensor) -> torch.memory_format:
    """`torch.channels_last` if a 4-D tensor has that memory format, otherwise `torch.contiguous_format`."""
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
