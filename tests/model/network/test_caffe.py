from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

from alexkit.model.network.caffe import read_caffemodel
from alexkit.model.network.network import Network
from alexkit.model.network.switches import Switches
from alexkit.model.network.tables import wiring
from alexkit.model.runs.weights import read_weights

Blobs = dict[str, NDArray[np.float32]]
FIELD = descriptor_pb2.FieldDescriptorProto

# What caffe.proto says of the messages that hold weights: name, number, type, repeated.
MESSAGES = {
    "Shape": [("dim", 1, "int64", True)],
    "Blob": [
        *((name, number, "int32", False) for number, name in enumerate(("num", "channels", "height", "width"), 1)),
        ("data", 5, "float", True),
        ("diff", 6, "float", True),
        ("shape", 7, "Shape", False),
    ],
    "Layer": [("name", 1, "string", False), ("type", 2, "string", False), ("blobs", 7, "Blob", True)],
    "LayerV1": [("bottom", 2, "string", True), ("name", 4, "string", False), ("blobs", 6, "Blob", True)],
    "Net": [("name", 1, "string", False), ("layers", 2, "LayerV1", True), ("layer", 100, "Layer", True)],
}


def messages() -> dict[str, type]:
    """Google's own classes for these messages, so that our reader is held to another's writer."""
    file = descriptor_pb2.FileDescriptorProto(name="weights.proto", package="weights", syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            entry = message.field.add(name=field, number=number)
            entry.label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
            if kind in MESSAGES:
                entry.type, entry.type_name = FIELD.TYPE_MESSAGE, f".weights.{kind}"
            else:
                entry.type = getattr(FIELD, f"TYPE_{kind.upper()}")
                entry.options.packed = kind == "float" or kind == "int64"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"weights.{name}")) for name in MESSAGES}


def caffemodel(blobs: Blobs, *, old: bool = False) -> bytes:
    """A file with these weights and biases by layer; `old` as of 2013, with four sizes to every blob."""
    net = messages()["Net"](name="AlexNet")
    for name in dict.fromkeys(key.rpartition(".")[0] for key in blobs):
        layer = (net.layers if old else net.layer).add(name=name)
        for kind in ("weight", "bias"):
            array = blobs[f"{name}.{kind}"]
            blob = layer.blobs.add(data=array.ravel().tolist())
            if old:
                sizes = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = sizes
            else:
                blob.shape.dim.extend(array.shape)
    (net.layers if old else net.layer).add(name="relu1")
    return bytes(net.SerializeToString())


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
    with pytest.raises(ValueError, match=r"net.caffemodel: (not a|no layer)"):
        read_caffemodel(path)
