"""Export a trained network as an ONNX file, written from its wiring table without tracing; running it needs no torch.

The file computes everything from pixels to probabilities. Input `images`: float32 (N, 3, px, px), RGB, gray levels
0-255 of the central crop of a prepared image; the training set's mean is subtracted inside. Outputs: `logits` and
`probabilities`, float32 (N, classes). The metadata holds the class ids and names in the order of the outputs.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....extras import explained_imports
from ....prep.format.files import whole_file
from ...network.wiring import (
    Activation,
    Conv,
    Dropout,
    Linear,
    LocallyConnected,
    MapNorm,
    Norm,
    Operation,
    Pool,
    Size,
    Wiring,
    sizes,
)
from ..trained import TrainedNetwork

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET, IR_VERSION = 17, 8  # from 2022: old enough for runtimes that lag behind

Weights = Mapping[str, NDArray[np.float32]]


def write_network_onnx(path: Path, network: TrainedNetwork) -> None:
    """Write a trained network. Raises ImportError without onnx, and InputError if its mean is unknown."""
    weights = {name: x.detach().cpu().numpy() for name, x in network.network.state_dict().items()}
    table = network.classes or ()
    classes = [(entry.id, entry.name) for entry in table] or [(name, name) for name in network.class_names]
    write_onnx(path, network.network.wiring, weights, network.mean_CHW(), classes)


def write_onnx(
    path: Path, wiring: Wiring, weights: Weights, mean_CHW: NDArray[np.float32], classes: Sequence[tuple[str, str]]
) -> None:
    """Write the network of `wiring` with unsharded `weights` by name; `classes` holds ids and names in label order.

    `mean_CHW` is subtracted from every image; it may be anything that broadcasts to (3, px, px). Raises ImportError
    without onnx.
    """
    content = _model(wiring, weights, mean_CHW, classes).SerializeToString()
    with whole_file(path) as file:
        file.write(content)


def _model(
    wiring: Wiring, weights: Weights, mean_CHW: NDArray[np.float32], classes: Sequence[tuple[str, str]]
) -> "ModelProto":
    with explained_imports():
        from onnx import TensorProto, helper
    graph, px = _Graph(), wiring.input_px
    x = graph.add("Sub", "images", graph.constant(mean_CHW))
    margin = wiring.margin_px
    for layer, size in zip(wiring.layers, sizes(wiring, len(classes)), strict=True):
        weight, bias = weights[f"{layer.name}.weight"], weights[f"{layer.name}.bias"]
        match layer:
            case Conv():
                groups = wiring.columns if layer.reads == "own column" else 1
                # The zeros at the right and bottom of the image become padding of the first convolution.
                pads = [layer.pad, layer.pad, layer.pad + margin, layer.pad + margin]
                named = graph.named(layer.name, weight, bias)
                x = graph.add("Conv", x, *named, group=groups, strides=[layer.stride] * 2, pads=pads)
            case LocallyConnected():
                x = _local(graph, x, layer, size, weight, bias)
            case Linear():
                x = graph.add("Flatten", x, axis=1)
                x = graph.add("Gemm", x, *graph.named(layer.name, weight, bias), transB=1)
        margin = 0
        for operation in layer.then:
            x = _operation(graph, x, operation, wiring.columns)
    graph.add("Identity", x, output="logits")
    graph.add("Softmax", x, output="probabilities", axis=1)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(classes)])
        for name in ("logits", "probabilities")
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, px, px])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "alexkit", [images], outputs, graph.tensors),
        producer_name="alexkit",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    about = {
        "input": f"images: float32 (N, 3, {px}, {px}), RGB, 0-255; the mean is subtracted inside",
        "classes": json.dumps([{"id": id, "name": name} for id, name in classes]),
    }
    helper.set_model_props(model, about)
    return model


class _Graph:
    """Nodes and constants in the order they are added; values are named by numbers, weights by their own names."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def split(self, x: str, number: int) -> list[str]:
        from onnx import helper

        parts = [f"{x}.{part}" for part in range(number)]
        self.nodes.append(helper.make_node("Split", [x], parts, axis=1))
        return parts

    def constant(self, value: Any, name: str = "") -> str:
        from onnx import numpy_helper

        name = name or f"constant{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def named(self, layer: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> tuple[str, str]:
        return self.constant(weight, name=f"{layer}.weight"), self.constant(bias, name=f"{layer}.bias")


def _local(
    graph: _Graph, x: str, layer: LocallyConnected, size: Size, weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> str:
    """A locally connected layer, which ONNX lacks: extract the windows, then sum over their inputs with an Einsum."""
    area = layer.kernel**2
    maps = size.inputs // area
    pick = np.tile(np.eye(area, dtype=np.float32).reshape(area, 1, layer.kernel, layer.kernel), (maps, 1, 1, 1))
    windows = graph.add("Conv", x, graph.constant(pick), group=maps, pads=[layer.pad] * 4)
    names = graph.named(layer.name, weight, bias)
    sums = graph.add("Einsum", windows, names[0], equation="nihw,fihw->nfhw")
    return graph.add("Add", sums, names[1])


def _operation(graph: _Graph, x: str, operation: Operation, columns: int) -> str:
    match operation:
        case Activation():
            x = graph.add({"relu": "Relu", "sigmoid": "Sigmoid"}.get(operation.kind, "Tanh"), x)
            return graph.add("Abs", x) if operation.kind == "abs-tanh" else x
        case Norm():
            # ONNX divides alpha by the window size and, like torch, does not know columns.
            settings: dict[str, Any] = {
                "size": operation.size,
                "alpha": operation.alpha * operation.size,
                "beta": operation.beta,
                "bias": operation.k,
            }
            if operation.scope == "all" or columns == 1:
                return graph.add("LRN", x, **settings)
            return graph.add(
                "Concat", *(graph.add("LRN", part, **settings) for part in graph.split(x, columns)), axis=1
            )
        case MapNorm():
            means = graph.add(
                "AveragePool",
                graph.add("Mul", x, x),
                kernel_shape=[operation.size] * 2,
                pads=[operation.size // 2] * 4,
                count_include_pad=1,
            )
            scale = graph.add("Mul", means, graph.constant(operation.alpha * operation.size**2))
            scale = graph.add("Add", scale, graph.constant(1.0))
            return graph.add("Mul", x, graph.add("Pow", scale, graph.constant(-operation.beta)))
        case Pool():
            windows: dict[str, Any] = {
                "kernel_shape": [operation.size] * 2,
                "strides": [operation.stride] * 2,
                "ceil_mode": 1,
            }
            if operation.kind == "max":
                return graph.add("MaxPool", x, **windows)
            return graph.add("AveragePool", x, **windows, count_include_pad=0)
        case Dropout():
            return x if operation.kind == "inverted" else graph.add("Mul", x, graph.constant(1 - operation.rate))
