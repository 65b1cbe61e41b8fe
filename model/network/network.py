"""A torch module built from a wiring table.

Parameters are named LAYER.weight and LAYER.bias (`conv1.weight`, `fc8.bias`). The first dimension of a weight holds its
outputs, column after column, so one column's weights are a plain slice. Checkpoints always hold unsharded weights.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from .columns import Columns
from .layers import (
    AbsTanh,
    DropoutMask,
    LocallyConnected2d,
    MaskKey,
    Pooling,
    SameMapNorm,
    UndrawnConv2d,
    UndrawnLinear,
)
from .norm import ResponseNorm
from .wiring import (
    Activation,
    ActivationKind,
    Dropout,
    Layer,
    Linear,
    LocallyConnected,
    MapNorm,
    Norm,
    Pool,
    Size,
    Wiring,
    sizes,
)

_ACTIVATIONS: dict[ActivationKind, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "tanh": nn.Tanh,
    "abs-tanh": AbsTanh,
    "sigmoid": nn.Sigmoid,
}


class Stage(NamedTuple):
    """One layer of the table and the modules that compute it."""

    layer: Layer
    weights: nn.Module
    operations: list[nn.Module]


class Network(nn.Module):
    """The part of the network `wiring` held by `columns`, with weights drawn from `seed`, the same in every layout."""

    def __init__(self, wiring: Wiring, num_classes: int, *, columns: Columns | None = None, seed: int = 0) -> None:
        super().__init__()
        self.wiring, self.num_classes = wiring, num_classes
        self.columns = columns or Columns(wiring.columns)
        if self.columns.number != wiring.columns:
            raise InputError(f"the network has {wiring.columns} columns, but the processes hold {self.columns.number}")
        self.sizes = sizes(wiring, num_classes)
        self.stages: list[Stage] = []
        for number, (layer, size) in enumerate(zip(wiring.layers, self.sizes, strict=True)):
            weights = self._weights(layer, size)
            self.add_module(layer.name, weights)
            self.stages.append(Stage(layer, weights, self._operations(layer, size, number)))
        self.operations = nn.ModuleList(operation for stage in self.stages for operation in stage.operations)
        self.dropouts = [operation for operation in self.operations if isinstance(operation, DropoutMask)]
        self.draw_weights(seed)
        # Channels last is 1.5 times as fast as NCHW on a CPU, and preferred on GPUs.
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _weights(self, layer: Layer, size: Size) -> nn.Module:
        own = self.columns.own_slice(size.maps)
        outputs, held = own.stop - own.start, len(self.columns.held)
        if isinstance(layer, Linear):
            return UndrawnLinear(size.inputs, outputs)
        maps = size.inputs // layer.kernel**2
        if isinstance(layer, LocallyConnected):
            return LocallyConnected2d(maps, outputs, kernel=layer.kernel, pad=layer.pad, out_px=size.px)
        # Columns in the same process that read only themselves are the groups of one convolution.
        groups = held if layer.reads == "own column" else 1
        shape = (maps * groups, outputs, layer.kernel, layer.stride, layer.pad)
        return UndrawnConv2d(*shape, groups=groups)

    def _operations(self, layer: Layer, size: Size, number: int) -> list[nn.Module]:
        own = self.columns.own_slice(size.maps)
        held = len(self.columns.held)
        modules: list[nn.Module] = []
        for operation in layer.then:
            match operation:
                case Norm():
                    if operation.scope == "all" and held < self.columns.number:
                        raise InputError("norm_scope = 'all' reads both columns; use --columns 1")
                    rectify = bool(modules) and isinstance(modules[-1], nn.ReLU)
                    if rectify:
                        modules.pop()  # fused into the normalization: one pass over memory instead of two
                    modules.append(
                        ResponseNorm(
                            own.stop - own.start,
                            size=operation.size,
                            alpha=operation.alpha,
                            beta=operation.beta,
                            k=operation.k,
                            groups=held if operation.scope == "column" else 1,
                            relu=rectify,
                        )
                    )
                case MapNorm():
                    modules.append(SameMapNorm(size=operation.size, alpha=operation.alpha, beta=operation.beta))
                case Pool():
                    modules.append(Pooling(kind=operation.kind, size=operation.size, stride=operation.stride))
                case Activation():
                    modules.append(_ACTIVATIONS[operation.kind]())
                case Dropout():
                    inverted = operation.kind == "inverted"
                    first = own.start * size.pooled_px**2
                    modules.append(DropoutMask(rate=operation.rate, inverted=inverted, layer=number, first_unit=first))
        return modules

    @torch.no_grad()
    def draw_weights(self, seed: int) -> None:
        """Initialize all weights: Gaussian with the table's deviations, drawn from (seed, layer); constant biases."""
        for number, stage in enumerate(self.stages):
            # NumPy's SeedSequence distinguishes (1, 0) from (0, 1); torch's generator takes a single integer.
            generator = torch.Generator().manual_seed(layer_seed(seed, number))
            name = stage.layer.name
            weight, bias = self.get_parameter(f"{name}.weight"), self.get_parameter(f"{name}.bias")
            size = self.sizes[number].maps
            # Drawn for all columns, whichever are held here, so that every layout draws the same.
            in_place = (
                len(weight) == size and weight.is_cpu and weight.is_contiguous() and weight.dtype == torch.float32
            )
            whole = weight if in_place else torch.empty(size, *weight.shape[1:])
            whole.normal_(0, stage.layer.std, generator=generator)
            if not in_place:
                weight.copy_(whole[self.columns.own_slice(size)])
            bias.fill_(stage.layer.bias)

    def forward(self, images_NCHW: Tensor, masks: MaskKey | None = None) -> Tensor:
        """Compute the logits (N, classes) of float images (N, 3, input_px, input_px), gray levels 0-255 minus the mean.

        Training with dropout needs `masks`. Raises InputError for images of another size.
        """
        px = self.wiring.input_px
        if tuple(images_NCHW.shape[1:]) != (3, px, px):
            raise InputError(f"the network reads images of 3 x {px} x {px}, got {tuple(images_NCHW.shape[1:])}")
        for dropout in self.dropouts:
            dropout.key = masks
        margin = self.wiring.margin_px
        x = F.pad(images_NCHW, (0, margin, 0, margin)) if margin else images_NCHW
        last = self.stages[-1].weights
        for layer, weights, operations in self.stages:
            if layer.reads == "both columns":
                x = self.columns.join(x)
            if isinstance(layer, Linear) and x.ndim > 2:
                x = x.flatten(1)
            x = weights(x) if self.training or weights is not last else in_float32(weights, x)
            for operation in operations:
                x = operation(x)
        return self.columns.join_outputs(x, self.num_classes)


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """Run a layer outside autocast: classes that differ in float32 could tie in bfloat16."""
    if not torch.is_autocast_enabled(x.device.type):
        result: Tensor = layer(x)
        return result
    with torch.autocast(x.device.type, enabled=False):
        result = layer(x.float())
    return result


def layer_seed(seed: int, layer: int) -> int:
    """A seed for one layer's weights, derived from the pair, not from its sum."""
    import numpy as np

    return int(np.random.SeedSequence([seed, layer]).generate_state(1, np.uint64)[0] >> np.uint64(1))
