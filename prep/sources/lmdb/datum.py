"""Caffe's Datum, a protobuf message: an encoded image, or one of pixels in the order channels, rows, columns."""

from typing import NamedTuple

from ...storage.protobuf import LENGTH, VARINT, fields, signed
from ...storage.window import Window
from .btree import Entry

_SIZES = {1: "channels", 2: "height", 3: "width"}
_DATA, _LABEL, _FLOATS, _IS_ENCODED = 4, 5, 6, 7


class Datum(NamedTuple):
    """An image in a database; `label` is None if it has none."""

    label: int | None
    is_encoded: bool
    offset: int
    num_bytes: int
    channels: int
    height: int
    width: int


def datum_at(window: Window, entry: Entry) -> Datum:
    """The value of an entry; raises ValueError, saying why, if it is no Datum with an image."""
    sizes = dict.fromkeys(_SIZES.values(), 0)
    data, label, is_encoded, has_floats = None, None, False, False
    for number, wire, at, end in fields(window, entry.offset, entry.offset + entry.num_bytes):
        if number in _SIZES and wire == VARINT:
            sizes[_SIZES[number]] = window.varint(at)[0]
        elif number == _DATA and wire == LENGTH:
            data = (at, end - at)
        elif number == _LABEL and wire == VARINT:
            label = signed(window.varint(at)[0])
        elif number == _IS_ENCODED and wire == VARINT:
            is_encoded = window.varint(at)[0] != 0
        elif number == _FLOATS:
            has_floats = True
        else:
            raise ValueError(f"field {number} is none of a Datum")
    if data is None or not data[1]:
        raise ValueError("holds numbers (float_data), not an image" if has_floats else "holds no data")
    channels, height, width = sizes.values()
    if not is_encoded and (not data[1] == channels * height * width or channels not in (1, 3)):
        raise ValueError(
            f"{channels} channels of {height}×{width} pixels with {data[1]} bytes of data; expected 1 or 3 channels of "
            "one byte each, or an encoded image"
        )
    return Datum(label, is_encoded, *data, channels, height, width)
