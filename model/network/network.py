"""A wiring table made into a torch module.

Parameters are named ROW.weight and ROW.bias (`conv1.weight`, `fc8.bias`); a weight's first dimension is its outputs,
column after column, so one column's share is a plain slice of it, and whole weights are the one layout of checkpoints.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from .columns import Columns
from .layers import DropoutMask, LocallyConnected, MaskKey, Pooling, SameMapNorm
from .norm import ResponseNorm
from .wiring import Activation, Dropout, Full, Local, MapNorm, Norm, Pool, Row, Size, Wiring, sizes


class Network(nn.Module):
    """The columns of `wiring` that `columns` holds; weights are drawn by `seed`, alike in every process layout."""

    def __init__(self, wiring: Wiring, num_classes: int, *, columns: Columns | None = None, seed: int = 0) -> None:
        super().__init__()
        self.wiring, self.num_classes = wiring, num_classes
        self.columns = columns or Columns(wiring.columns)
        if self.columns.number != wiring.columns:
            raise InputError(f"the network has {wiring.columns} columns, the processes hold {self.columns.number}")
        self.sizes = sizes(wiring, num_classes)
        self.stages: list[tuple[Row, nn.Module, list[nn.Module]]] = []
        for number, (row, size) in enumerate(zip(wiring.rows, self.sizes, strict=True)):
            layer = self._layer(row, size)
            self.add_module(row.name, layer)
            self.stages.append((row, layer, self._steps(row, size, number)))
        self.steps = nn.ModuleList(step for _, _, steps in self.stages for step in steps)
        self.dropouts = [step for step in self.steps if isinstance(step, DropoutMask)]
        self.draw_weights(seed)
        # Channels last is half as fast again as NCHW on a CPU, and what GPUs like.
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _layer(self, row: Row, size: Size) -> nn.Module:
        part = self.columns.part(size.maps)
        outputs, held = part.stop - part.start, len(self.columns.held)
        if isinstance(row, Full):
            return nn.Linear(size.inputs, outputs)
        maps = size.inputs // row.kernel**2
        if isinstance(row, Local):
            return LocallyConnected(maps, outputs, kernel=row.kernel, pad=row.pad, out_px=size.px)
        # Columns that live together and read only themselves are the groups of one convolution.
        groups = held if row.reads == "own column" else 1
        return nn.Conv2d(maps * groups, outputs, row.kernel, row.stride, row.pad, groups=groups)

    def _steps(self, row: Row, size: Size, number: int) -> list[nn.Module]:
        part = self.columns.part(size.maps)
        held = len(self.columns.held)
        modules: list[nn.Module] = []
        for step in row.then:
            match step:
                case Norm():
                    if step.scope == "all" and held < self.columns.number:
                        raise InputError("norm_scope = 'all' reads both columns; use --columns 1")
                    rectify = bool(modules) and isinstance(modules[-1], nn.ReLU)
                    if rectify:
                        modules.pop()  # one pass over memory instead of two
                    modules.append(
                        ResponseNorm(
                            part.stop - part.start,
                            size=step.size,
                            factor=step.factor,
                            power=step.power,
                            k=step.k,
                            groups=held if step.scope == "column" else 1,
                            relu=rectify,
                        )
                    )
                case MapNorm():
                    modules.append(SameMapNorm(size=step.size, factor=step.factor, power=step.power))
                case Pool():
                    modules.append(Pooling(kind=step.kind, size=step.size, stride=step.stride))
                case Activation():
                    modules.append(nn.ReLU(inplace=True) if step.kind == "relu" else nn.Tanh())
                case Dropout():
                    inverted = step.kind == "inverted"
                    first = part.start * size.pooled_px**2
                    modules.append(DropoutMask(rate=step.rate, inverted=inverted, layer=number, first_unit=first))
        return modules

    @torch.no_grad()
    def draw_weights(self, seed: int) -> None:
        """Draw all weights anew: Gaussian, of the table's spread, by (seed, row); biases are the table's constants."""
        for number, (row, _, _) in enumerate(self.stages):
            # numpy's sequences of seeds keep (1, 0) apart from (0, 1); torch's generator takes one integer.
            generator = torch.Generator().manual_seed(row_seed(seed, number))
            weight, bias = self.get_parameter(f"{row.name}.weight"), self.get_parameter(f"{row.name}.bias")
            whole = torch.empty(self.sizes[number].maps, *weight.shape[1:])
            weight.copy_(whole.normal_(0, row.std, generator=generator)[self.columns.part(len(whole))])
            bias.fill_(row.bias)

    def forward(self, images_NCHW: Tensor, masks: MaskKey | None = None) -> Tensor:
        """Logits (N, classes) of float images, 0-255 less the mean, (N, 3, input_px, input_px).

        Training with dropout needs `masks`. Raises InputError for images of another size.
        """
        px = self.wiring.input_px
        if tuple(images_NCHW.shape[1:]) != (3, px, px):
            raise InputError(f"the network reads images of 3 x {px} x {px}, got {tuple(images_NCHW.shape[1:])}")
        for dropout in self.dropouts:
            dropout.key = masks
        margin = self.wiring.margin_px
        x = F.pad(images_NCHW, (0, margin, 0, margin)) if margin else images_NCHW
        for row, layer, steps in self.stages:
            if row.reads == "both columns":
                x = self.columns.join(x)
            if isinstance(row, Full) and x.ndim > 2:
                x = x.flatten(1)
            x = layer(x)
            for step in steps:
                x = step(x)
        return self.columns.join_outputs(x, self.num_classes)


def row_seed(seed: int, row: int) -> int:
    """A seed for one row's weights, from the pair and not from its sum."""
    import numpy as np

    return int(np.random.SeedSequence([seed, row]).generate_state(1, np.uint64)[0] >> np.uint64(1))
