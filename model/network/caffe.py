"""Read weights from a .caffemodel: the few fields of Caffe's protocol buffers that hold them, by field number.

Only numbers are read from the file, nothing in it is executed, and no length stored in it is trusted.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

MAX_BYTES = 2**31  # protocol buffers can be no larger
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5

# Field numbers of caffe.proto: a network's layers, a layer's name and blobs; first the current ones (since 2014).
_NET_LAYER, _LAYER_NAME, _LAYER_BLOBS = 100, 1, 7
_NET_LAYER_V1, _LAYER_NAME_V1, _LAYER_BLOBS_V1 = 2, 4, 6
# A blob's four sizes (old format), its numbers, and its shape, which holds the sizes in field 1.
_BLOB_SIZES, _BLOB_DATA, _BLOB_SHAPE, _SHAPE_SIZES = (1, 2, 3, 4), 5, 7, 1

Field = tuple[int, int | memoryview]


def read_caffemodel(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the blobs of the layers that have weights and biases, as LAYER.weight and LAYER.bias.

    They are float32, in the file's shapes. Raises InputError naming the file if it is anything else.
    """
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES} bytes, so it is not a .caffemodel")
    blobs: dict[str, NDArray[np.float32]] = {}
    try:
        for number, layer in _fields(memoryview(path.read_bytes())):
            if number == _NET_LAYER:
                blobs.update(_layer(_message(layer), _LAYER_NAME, _LAYER_BLOBS))
            elif number == _NET_LAYER_V1:
                blobs.update(_layer(_message(layer), _LAYER_NAME_V1, _LAYER_BLOBS_V1))
    except (IndexError, ValueError) as error:
        raise InputError(f"{path}: not a .caffemodel ({error})") from None
    if not blobs:
        raise InputError(f"{path}: has no layer with weights; expected a .caffemodel of 2014 or later")
    return blobs


def _layer(layer: memoryview, name_field: int, blobs_field: int) -> dict[str, NDArray[np.float32]]:
    name, arrays = "", []
    for number, value in _fields(layer):
        if number == name_field:
            name = bytes(_message(value)).decode()
        elif number == blobs_field:
            arrays.append(_blob(_message(value)))
    return {f"{name}.weight": arrays[0], f"{name}.bias": arrays[1]} if len(arrays) == 2 else {}


def _blob(blob: memoryview) -> NDArray[np.float32]:
    sizes: list[int] = []
    data = bytearray()
    for number, value in _fields(blob):
        if number == _BLOB_DATA:
            data += _message(value)  # packed, or one number at a time: the same bytes in the end
        elif number == _BLOB_SHAPE:
            for inner, size in _fields(_message(value)):
                if inner == _SHAPE_SIZES:
                    sizes += [size] if isinstance(size, int) else _varints(size)
        elif number in _BLOB_SIZES and isinstance(value, int):
            sizes.append(value)
    if not sizes or 4 * prod(sizes) != len(data):
        raise InputError(f"a blob of shape {sizes} with {len(data)} bytes of numbers")
    return np.frombuffer(data, "<f4").reshape(sizes).astype(np.float32, copy=False)


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise InputError("found a number instead of a message")
    return value


def _fields(message: memoryview) -> Iterator[Field]:
    """Number and value of every field: an integer, or bytes. Raises IndexError or InputError if it is truncated."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _LENGTH:
            length, at = _varint(message, at)
        elif kind in (_FOUR_BYTES, _EIGHT_BYTES):
            length = 4 if kind == _FOUR_BYTES else 8
        else:
            raise InputError(f"a field of kind {kind}")
        if at + length > len(message):
            raise InputError("it is truncated")
        yield key >> 3, message[at : at + length]
        at += length


def _varints(packed: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        values.append(value)
    return values


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The integer at `at`, seven bits a byte, and the offset after it."""
    value = 0
    for place in range(10):
        byte = message[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise InputError("an integer of more than ten bytes")
