import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from alexkit.model.network.caffe import read_caffemodel
from alexkit.model.network.network import Network
from alexkit.model.network.switches import Switches
from alexkit.model.network.tables import wiring
from alexkit.model.network.wiring import Linear
from alexkit.model.runs.weights import CAFFE_NETWORK, read_weights

from . import opencv_dnn
from .caffe_files import Blobs, caffemodel


def drawn() -> Blobs:
    rng = np.random.default_rng(0)
    shapes = {"conv1.weight": (4, 3, 5, 5), "conv1.bias": (4,), "fc8.weight": (300, 7), "fc8.bias": (300,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_blobs_come_out_as_google_wrote_them(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(drawn()))
    found = read_caffemodel(path)
    assert found.keys() == drawn().keys()
    assert all(np.array_equal(found[name], array) for name, array in drawn().items())


def test_files_of_2013_have_four_sizes_to_every_blob(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(drawn(), old=True))
    found = read_caffemodel(path)
    assert found["fc8.weight"].shape == (1, 1, 300, 7) and found["conv1.bias"].shape == (1, 1, 1, 4)
    assert all(np.array_equal(found[name].ravel(), array.ravel()) for name, array in drawn().items())


@pytest.mark.parametrize("old", [False, True])
def test_a_caffemodel_starts_a_network_of_ours(tmp_path: Path, old: bool) -> None:
    without = ("fc6", "fc7")  # which hold nine tenths of the weights
    ours = Network(wiring(Switches(input="valid227", norm="caffe", without=without)), 7).state_dict()
    small = {name: torch.zeros(2, 3) if "weight" in name else torch.zeros(2) for name in ("fc6.weight", "fc6.bias")}
    small |= {"fc7.weight": torch.ones(3, 2), "fc7.bias": torch.ones(3)}
    expected = {**{name: x.contiguous() for name, x in ours.items()}, **small}
    path = tmp_path / "bvlc_alexnet.caffemodel"
    path.write_bytes(caffemodel({name: x.numpy() for name, x in expected.items()}, old=old))
    found = read_weights(path)
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        assert torch.equal(found[name], x.flip(1) if name == "conv1.weight" else x), name  # BGR to RGB


@pytest.mark.parametrize("cut", [1, 7, 60, 1000])
def test_a_file_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(drawn())[:-cut])
    with pytest.raises(ValueError, match=r"net.caffemodel: not a .caffemodel"):
        read_caffemodel(path)


@pytest.mark.parametrize("content", [b"", b"\x0a\x01x", b"\xff" * 40, b"GIF89a" * 99, b"\xa2\x06\x7f\x0a"])
def test_a_file_of_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net.caffemodel: (not a|has no layer)"):
        read_caffemodel(path)


@pytest.fixture(scope="module")
def drawn_alexnet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    path = tmp_path_factory.mktemp("caffe") / "alexnet.caffemodel"
    path.write_bytes(caffemodel(opencv_dnn.blobs()))
    return read_weights(path)


def outputs(switches: Switches, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What our network computes, by OpenCV's names, of images that our loaders would have fed: RGB."""
    table = wiring(switches)
    small = {
        layer.name: replace(layer, units=opencv_dnn.UNITS[layer.name])
        for layer in table.layers
        if isinstance(layer, Linear) and layer.units is not None
    }
    table = replace(table, layers=tuple(small.get(layer.name, layer) for layer in table.layers))
    network = Network(table, opencv_dnn.UNITS["fc8"]).eval()
    network.load_state_dict(weights)
    found: dict[str, torch.Tensor] = {}
    for stage in network.stages:
        name = stage.layer.name
        # The normalization of conv1 and conv2 is the first operation: it rectifies in the same pass.
        for kind, operation in (
            (("norm", stage.operations[0]), ("pool", stage.operations[-1])) if stage.operations else ()
        ):

            def keep(module: object, inputs: object, output: torch.Tensor, key: str = f"{kind}_{name}") -> None:
                found[key] = output

            operation.register_forward_hook(keep)
    rgb = torch.from_numpy(opencv_dnn.images()).flip(1)
    with torch.no_grad():
        found["fc8"] = network(rgb)
    found["prob"] = found["fc8"].softmax(1)
    return found


def difference(found: dict[str, torch.Tensor], name: str) -> float:
    """The largest one between OpenCV's numbers and ours, relative to the largest number."""
    stored = torch.tensor(json.loads(opencv_dnn.STORED.read_text())[name])
    own = found[name].contiguous().flatten()[:: 1 if name in ("fc8", "prob") else 997]
    return float((own - stored).abs().max() / stored.abs().max())


def test_caffes_alexnet_gives_the_numbers_of_opencvs_dnn_module(drawn_alexnet: dict[str, torch.Tensor]) -> None:
    found = outputs(CAFFE_NETWORK, drawn_alexnet)
    for name in ("norm_conv1", "norm_conv2", "pool_conv5", "fc8", "prob"):
        assert difference(found, name) < 2e-5, name
    for switch in ({"norm_scope": "column"}, {"norm": "original"}):  # what the import must not be read with
        other = outputs(replace(CAFFE_NETWORK, **switch), drawn_alexnet)
        assert difference(other, "norm_conv1") > 1e-3 and difference(other, "prob") > 1e-3, switch
