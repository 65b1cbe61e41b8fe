"""Caffe files written with Google's protobuf classes, so that our reader is tested against an independent writer."""

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

Blobs = dict[str, NDArray[np.float32]]
FIELD = descriptor_pb2.FieldDescriptorProto

# The fields in caffe.proto of the messages that hold weights: name, number, type, repeated.
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
    """Google's protobuf classes for these messages."""
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
    """A file with these weights and biases by layer; `old` uses the format of 2013, with four sizes per blob."""
    net = messages()["Net"](name="AlexNet")
    for name in dict.fromkeys(key.rpartition(".")[0] for key in blobs):
        layer = (net.layers if old else net.layer).add(name=name)
        for kind in ("weight", "bias"):
            array = blobs[f"{name}.{kind}"]
            blob = layer.blobs.add()
            blob.MergeFromString(_packed(5, array.astype("<f4").tobytes()))  # a list of 58 million numbers takes 3 GB
            if old:
                sizes = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = sizes
            else:
                blob.shape.dim.extend(array.shape)
    (net.layers if old else net.layer).add(name="relu1")
    return bytes(net.SerializeToString())


def _packed(number: int, content: bytes) -> bytes:
    """Field `number` with these bytes, in wire format."""
    length, rest = b"", len(content)
    while rest > 0x7F:
        length += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + content
