"""Who holds which columns: all in this process, or one each in several.

A network asks its `Columns` to join activations where the figure joins them, and nothing else about processes.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Columns:
    """All `number` columns in this process: joining them is nothing to do."""

    bytes_sent = 0  # to processes that hold other columns, forward and back

    def __init__(self, number: int = 1) -> None:
        self.number = number
        self.held = range(number)  # the columns whose weights live in this process

    def join(self, x: Tensor) -> Tensor:
        """The activations of all columns along dimension 1, from those held here; gradients come back summed."""
        return x

    def join_outputs(self, x: Tensor, num_outputs: int) -> Tensor:
        """The network's outputs, of which every process then computes the same whole loss."""
        return x

    def part(self, num_outputs: int) -> slice:
        """Which of a layer's outputs, along dimension 0 of its whole weights, are held here."""
        return slice(*(num_outputs * column // self.number for column in (self.held.start, self.held.stop)))

    def whole(self, part: Tensor, num_outputs: int) -> Tensor:
        """A whole tensor of weights from the parts that the processes hold, without gradients."""
        return part


class ColumnProcesses(Columns):
    """One column in this process and the others in the other processes of `group`, in the order of their ranks."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        super().__init__(dist.get_world_size(group))
        self.group, self.column = group, dist.get_rank(group)
        self.held = range(self.column, self.column + 1)

    def join(self, x: Tensor) -> Tensor:
        """All columns' activations along dimension 1. The others' gradients of this column's are added up."""
        joined: Tensor = _Join.apply(x, self, None)  # type: ignore[no-untyped-call]
        return joined

    def join_outputs(self, x: Tensor, num_outputs: int) -> Tensor:
        """All outputs. Each process computes the whole loss from them, so a gradient is taken, not added up."""
        joined: Tensor = _Join.apply(x, self, num_outputs)  # type: ignore[no-untyped-call]
        return joined

    def whole(self, part: Tensor, num_outputs: int) -> Tensor:
        """The whole tensor, from all processes of the group; all must call."""
        last_first = part.transpose(0, 1) if part.ndim > 1 else part[None]
        return self.gather(last_first, num_outputs).transpose(0, 1).reshape(num_outputs, *part.shape[1:])

    def gather(self, x: Tensor, total: int) -> Tensor:
        """Join along dimension 1, whose parts may differ by one."""
        widths = [(total * (i + 1)) // self.number - (total * i) // self.number for i in range(self.number)]
        widest = max(widths)
        if x.shape[1] < widest:  # all_gather wants equal parts
            x = torch.cat([x, x.new_zeros(len(x), widest - x.shape[1], *x.shape[2:])], dim=1)
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in widths]
        dist.all_gather(parts, x, group=self.group)
        self.bytes_sent += x.nbytes * (self.number - 1)
        return torch.cat([part[:, :width] for part, width in zip(parts, widths, strict=True)], dim=1)

    def exchange(self, parts: list[Tensor]) -> list[Tensor]:
        """Send part i to column i and receive one from each other column; the own part is left out."""
        received = []
        operations = []
        for column in range(self.number):
            if column == self.column:
                continue
            rank = dist.get_global_rank(self.group, column)
            received.append(torch.empty_like(parts[self.column]))
            operations.append(dist.P2POp(dist.isend, parts[column], rank, self.group))
            operations.append(dist.P2POp(dist.irecv, received[-1], rank, self.group))
            self.bytes_sent += parts[column].nbytes
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
        own = columns.part(ctx.total)
        if ctx.is_output:
            return gradient[:, own], None, None
        parts = [part.contiguous() for part in gradient.chunk(columns.number, dim=1)]
        mine = parts[columns.column]
        for other in columns.exchange(parts):
            mine = mine + other
        return mine.contiguous(memory_format=memory_order(gradient)), None, None


def memory_order(x: Tensor) -> torch.memory_format:
    """Channels last for a tensor of four dimensions that lies so, else the usual order."""
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
