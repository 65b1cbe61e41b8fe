"""ONNX files compute what the network computes, by a runtime that knows nothing of us."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from alexkit.model.evaluation.export.onnx_file import write_onnx
from alexkit.model.network.network import Network
from alexkit.model.network.switches import Switches
from alexkit.model.network.tables import wiring
from alexkit.model.network.wiring import Activation, Linear, Wiring

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

CLASSES = [(f"id{i}", f"name {i}") for i in range(7)]


def smaller(table: Wiring) -> Wiring:
    """The table with fully-connected layers of 64 units: nine tenths of the weights less, every kind of layer left."""
    return replace(
        table,
        layers=tuple(replace(row, units=64) if isinstance(row, Linear) and row.units else row for row in table.layers),
    )


def lively(table: Wiring) -> Network:
    """A network whose activations keep their size from layer to layer, so that no layer is lost in rounding."""
    network = Network(table, len(CLASSES)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for size in network.sizes:
            network.get_parameter(f"{size.name}.weight").normal_(0, (2 / size.inputs) ** 0.5, generator=generator)
            network.get_parameter(f"{size.name}.bias").normal_(0, 1, generator=generator)
        if any(isinstance(step, Activation) and step.kind != "relu" for step in table.layers[0].then):
            network.get_parameter(f"{network.sizes[0].name}.weight").div_(100)  # gray levels would saturate the others
    return network


def pixels(px: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, px, px), generator=torch.Generator().manual_seed(1)).float()


@pytest.mark.parametrize(
    "switches",
    [
        Switches(),
        Switches(norm="original", norm_order="original", map_norm=True),
        Switches(norm="caffe", input="valid227", dropout="inverted"),
        Switches(norm_scope="all", input="pad2", sixth_conv=True),
        Switches(pooling="2/2", activation="tanh", norm="none", dropout="off"),
        Switches(kind="one-gpu", without=("conv4", "fc7")),
        Switches(activation="abs-tanh", linear_1024=True),
        Switches(kind="cifar10-19", activation="sigmoid", input="crop24"),
        Switches(kind="tower"),
        Switches(kind="owt"),
        Switches(kind="cifar10-19"),
        Switches(kind="cifar10-18"),
        Switches(kind="cifar10-13"),
        Switches(kind="cifar10-11"),
    ],
    ids=str,
)
def test_a_runtime_computes_the_logits_and_probabilities_of_the_network(switches: Switches, tmp_path: Path) -> None:
    table = smaller(wiring(switches))
    network, images = lively(table), pixels(table.input_px)
    mean_CHW = torch.rand(3, table.input_px, table.input_px, generator=torch.Generator().manual_seed(2)) * 200
    weights = {name: x.numpy() for name, x in network.state_dict().items()}
    write_onnx(tmp_path / "net.onnx", table, weights, mean_CHW.numpy(), CLASSES)
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    logits, probabilities = session.run(["logits", "probabilities"], {"images": images.numpy()})
    with torch.no_grad():
        expected = network(images - mean_CHW)
    assert expected.std() > 0.1 and not np.allclose(logits[0], logits[1])
    assert np.abs(logits - expected.numpy()).max() <= 1e-5 * float(expected.abs().max())
    assert np.allclose(probabilities, expected.softmax(1).numpy(), atol=1e-4)


def test_the_file_names_its_classes_and_its_input(tmp_path: Path) -> None:
    table = wiring(Switches(kind="cifar10-19"))
    weights = {name: x.numpy() for name, x in Network(table, len(CLASSES)).state_dict().items()}
    write_onnx(tmp_path / "net.onnx", table, weights, np.zeros((3, 1, 1), np.float32), CLASSES)
    about = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert [(entry["id"], entry["name"]) for entry in json.loads(about["classes"])] == CLASSES
    assert "float32 (N, 3, 32, 32), RGB, 0-255" in about["input"]


def test_without_the_package_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'alexkit\[onnx\]'"):
        write_onnx(tmp_path / "net.onnx", wiring(Switches()), {}, np.zeros(3, np.float32), CLASSES)
    assert not list(tmp_path.iterdir())
