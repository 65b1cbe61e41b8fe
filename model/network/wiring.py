"""A network as a table that reads like the paper's figure; the modules are built only from this table.

Each entry is a layer with weights: what it reads (its own column or both) and which operations follow it, in order.
Sizes, parameter counts and the traffic between columns are also computed from the table, so they cannot disagree with
the network. The tables themselves are in `tables`.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

from ...errors import InputError

Reads = Literal["image", "own column", "both columns"]
ActivationKind = Literal["relu", "tanh", "abs-tanh", "sigmoid"]
NormScope = Literal["column", "all"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Activation:
    """A nonlinearity, applied to every output."""

    kind: ActivationKind = "relu"
    """The paper's ReLU, or one that section 3.1 compares it with: tanh, |tanh| or the logistic function."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Norm:
    """Local response normalization: b = a / (k + alpha * sum of a^2 over `size` neighboring maps) ** beta."""

    size: int = 5
    """Maps in a window; odd."""
    alpha: float = 1e-4
    """Factor on the sum, as printed in the paper; torch and Caffe divide theirs by `size`."""
    beta: float = 0.75
    """The exponent."""
    k: float = 2.0
    """The constant."""
    scope: NormScope = "column"
    """Whether windows stay within one column or extend across all maps of the layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MapNorm:
    """b = a / (1 + alpha * sum of a^2 over a `size` x `size` window of the same map) ** beta."""

    size: int
    """Side of the window in px; odd."""
    alpha: float
    """Factor on the sum."""
    beta: float = 0.75
    """The exponent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Pooling over `size` x `size` windows; their count is rounded up, and averages divide by the clipped window."""

    kind: Literal["max", "average"] = "max"
    """The reduction over a window."""
    size: int = 3
    """Side of the window in px."""
    stride: int = 2
    """Distance between windows in px."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropout:
    """Outputs are set to zero at random in training (paper, section 4.2)."""

    kind: Literal["mask", "inverted"] = "mask"
    """`mask`: multiplied by 1 - rate in evaluation, as in the paper; `inverted`: divided by 1 - rate in training."""
    rate: float = 0.5
    """Probability of a zero."""


Operation = Activation | Norm | MapNorm | Pool | Dropout


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layer:
    name: str
    """Parameters are called NAME.weight and NAME.bias."""
    reads: Reads
    """What the layer reads: the image, or the previous layer's outputs in its own column or in both."""
    then: tuple[Operation, ...] = ()
    """The operations that follow, in order."""
    std: float = 0.01
    """Standard deviation of the initial weights, whose mean is 0."""
    bias: float = 0.0
    """Initial value of the biases."""
    decay: float = 0.0005
    """Weight decay, unless the recipe sets another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv(_Layer):
    """A convolution."""

    filters: int
    """Output maps of both columns together."""
    kernel: int
    """Side of a kernel in px."""
    stride: int = 1
    """Distance between windows in px."""
    pad: int = 0
    """Zeros around the input in px."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocallyConnected(_Layer):
    """Like a convolution of stride 1, but with separate weights at every position."""

    filters: int
    """Output maps of both columns together."""
    kernel: int
    """Side of a kernel in px."""
    pad: int = 0
    """Zeros around the input in px."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear(_Layer):
    """A fully connected layer."""

    units: int | None
    """Outputs of both columns together; None means one per class."""


Layer = Conv | LocallyConnected | Linear


@dataclass(frozen=True, kw_only=True, slots=True)
class Wiring:
    """A whole network."""

    layers: tuple[Layer, ...]
    """The layers in order, from the image to the classes."""
    columns: int = 1
    """Number of equal columns into which the maps are divided."""
    input_px: int = 224
    """Side of the image in px."""
    margin_px: int = 0
    """Rows and columns of zeros added at the bottom and right of the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """The size of one layer, all columns together."""

    name: str
    """The layer's name."""
    maps: int
    """Output maps, or units."""
    px: int
    """Side of an output map before pooling; 1 for a linear layer."""
    pooled_px: int
    """The same after pooling."""
    inputs: int
    """Inputs of one output."""
    weights: int
    """Parameters without the biases."""
    biases: int
    """Bias parameters."""
    multiply_adds: int
    """Multiply-adds per image, in the forward pass."""
    crossing: int
    """Activations per image sent between the columns to feed this layer, both directions together."""

    @property
    def neurons(self) -> int:
        """Outputs of the layer, before pooling."""
        return self.maps * self.px**2


def sizes(wiring: Wiring, num_classes: int) -> list[Size]:
    """The size of every layer.

    Raises InputError naming a layer whose input is too small or whose outputs cannot be divided among the columns.
    """
    result = []
    maps, px = 3, wiring.input_px + wiring.margin_px
    for layer in wiring.layers:
        is_output = isinstance(layer, Linear) and layer.units is None
        outputs = num_classes if is_output else _outputs(layer)
        if outputs % wiring.columns and not is_output:
            raise InputError(f"{layer.name}: {outputs} outputs cannot be divided among {wiring.columns} columns")
        read_maps = maps // wiring.columns if layer.reads == "own column" else maps
        if isinstance(layer, Linear):
            out_px, inputs = 1, read_maps * px * px
        else:
            stride = layer.stride if isinstance(layer, Conv) else 1
            out_px = (px + 2 * layer.pad - layer.kernel) // stride + 1
            inputs = read_maps * layer.kernel**2
            if out_px < 1:
                raise InputError(f"{layer.name}: its kernels of {layer.kernel} px do not fit an input of {px} px")
        positions = out_px**2
        copies = positions if isinstance(layer, LocallyConnected) else 1
        pooled_px = out_px
        for operation in layer.then:
            if isinstance(operation, Pool):
                if pooled_px < operation.size:
                    raise InputError(f"{layer.name}: pooling windows of {operation.size} px do not fit {pooled_px} px")
                pooled_px = ceil((pooled_px - operation.size) / operation.stride) + 1
        result.append(
            Size(
                name=layer.name,
                maps=outputs,
                px=out_px,
                pooled_px=pooled_px,
                inputs=inputs,
                weights=outputs * inputs * copies,
                biases=outputs * copies,
                multiply_adds=outputs * inputs * positions,
                crossing=maps * px * px * (wiring.columns - 1) if layer.reads == "both columns" else 0,
            )
        )
        maps, px = outputs, pooled_px
    return result


def _outputs(layer: Layer) -> int:
    if isinstance(layer, Linear):
        assert layer.units is not None
        return layer.units
    return layer.filters
