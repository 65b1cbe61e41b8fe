"""Caffe's AlexNet with small fully connected layers and random weights, and what OpenCV's dnn module computes with it.

`opencv_dnn.json` was written by `python tests/model/network/opencv_dnn.py` with OpenCV 4.12, whose dnn module reads
Caffe's files; OpenCV 5 no longer does, so its numbers are stored.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STORED = Path(__file__).with_name("opencv_dnn.json")
UNITS = {"fc6": 48, "fc7": 40, "fc8": 10}
# Name, filters, kernel, stride, pad, groups, whether normalization follows the ReLU, whether pooling comes last.
CONVS = (
    ("conv1", 96, 11, 4, 0, 1, True, True),
    ("conv2", 256, 5, 1, 2, 2, True, True),
    ("conv3", 384, 3, 1, 1, 1, False, False),
    ("conv4", 384, 3, 1, 1, 2, False, False),
    ("conv5", 256, 3, 1, 1, 2, False, True),
)
# Large enough that response normalization changes numbers by more than a tenth.
STD = {"conv1": 0.05, "conv2": 0.04, "conv3": 0.03, "conv4": 0.03, "conv5": 0.03, "fc6": 0.02, "fc7": 0.05, "fc8": 0.05}


def prototxt() -> str:
    """The network as Caffe's bvlc_alexnet describes it, for deployment."""
    text = 'name: "AlexNet" input: "data" input_shape { dim: 2 dim: 3 dim: 227 dim: 227 }\n'
    last = "data"
    for name, filters, kernel, stride, pad, groups, normalized, pooled in CONVS:
        options = f"num_output: {filters} kernel_size: {kernel} stride: {stride} pad: {pad} group: {groups}"
        text += _layer(name, "Convolution", last, name, f"convolution_param {{ {options} }}")
        text += _layer(f"relu_{name}", "ReLU", name, name)
        last = name
        if normalized:
            options = "local_size: 5 alpha: 0.0001 beta: 0.75"
            text += _layer(f"norm_{name}", "LRN", last, f"norm_{name}", f"lrn_param {{ {options} }}")
            last = f"norm_{name}"
        if pooled:
            options = "pool: MAX kernel_size: 3 stride: 2"
            text += _layer(f"pool_{name}", "Pooling", last, f"pool_{name}", f"pooling_param {{ {options} }}")
            last = f"pool_{name}"
    for name, units in UNITS.items():
        text += _layer(name, "InnerProduct", last, name, f"inner_product_param {{ num_output: {units} }}")
        last = name
        if name != "fc8":
            text += _layer(f"relu_{name}", "ReLU", name, name)
            text += _layer(f"drop_{name}", "Dropout", name, name, "dropout_param { dropout_ratio: 0.5 }")
    return text + _layer("prob", "Softmax", last, "prob")


def _layer(name: str, kind: str, bottom: str, top: str, options: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top}" {options} }}\n'


def blobs() -> dict[str, NDArray[np.float32]]:
    """Weights and biases by LAYER.weight and LAYER.bias, in Caffe's shapes."""
    random = np.random.RandomState(2012)  # NumPy guarantees that its numbers never change
    result = {}
    maps = 3
    for name, filters, kernel, *_, groups, _, _ in CONVS:
        shape: tuple[int, ...] = (filters, maps // groups, kernel, kernel)
        result[f"{name}.weight"] = (STD[name] * random.standard_normal(shape)).astype(np.float32)
        result[f"{name}.bias"] = random.uniform(0, 1, filters).astype(np.float32)
        maps = filters
    inputs = maps * 6 * 6
    for name, units in UNITS.items():
        result[f"{name}.weight"] = (STD[name] * random.standard_normal((units, inputs))).astype(np.float32)
        result[f"{name}.bias"] = random.uniform(0, 1, units).astype(np.float32)
        inputs = units
    return result


def images() -> NDArray[np.float32]:
    """Two images as input for Caffe: BGR, gray levels minus a mean, float32 (2, 3, 227, 227)."""
    random = np.random.RandomState(227)
    coarse = random.uniform(-110, 130, (2, 3, 17, 17))
    fine = coarse.repeat(14, axis=2).repeat(14, axis=3)[..., :227, :227]
    return (fine + random.uniform(-15, 15, fine.shape)).astype(np.float32)


def main() -> None:
    """Compute the numbers with OpenCV 4."""
    import tempfile

    import cv2
    from caffe_files import caffemodel  # beside this file

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "net.prototxt").write_text(prototxt())
        (Path(folder) / "net.caffemodel").write_bytes(caffemodel(blobs()))
        dnn: Any = cv2.dnn
        net = dnn.readNetFromCaffe(f"{folder}/net.prototxt", f"{folder}/net.caffemodel")
        net.setInput(images())
        names = ["norm_conv1", "norm_conv2", "pool_conv5", "fc8", "prob"]
        outputs = dict(zip(names, net.forward(names), strict=True))
    numbers = {
        "opencv": cv2.__version__,
        # Every 997th number of the inner layers, all numbers of the last ones.
        **{name: outputs[name].ravel()[:: 1 if name in ("fc8", "prob") else 997].tolist() for name in names},
    }
    STORED.write_text(json.dumps(numbers) + "\n")


if __name__ == "__main__":
    main()
