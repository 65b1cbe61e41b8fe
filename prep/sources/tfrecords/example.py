"""A minimal reader of tf.train.Example, a protobuf message: a map from names to lists of bytes, floats or integers.

Only names and the wanted values are read; everything else, such as the image, is skipped by its length. No length is
trusted: what does not fit into the record raises ValueError.
"""

import struct
from collections.abc import Container, Iterator
from typing import Literal, NamedTuple

from ...storage.protobuf import FOUR_BYTES, LENGTH, VARINT, fields, signed
from ...storage.window import Window

MAX_NAME_BYTES = 2**12
MAX_FEATURES = 2**16
MAX_VALUES = 2**16
_KINDS: dict[int, Literal["bytes", "floats", "integers"]] = {1: "bytes", 2: "floats", 3: "integers"}


class Feature(NamedTuple):
    """A list of values: its kind and the range of its message in the file."""

    kind: Literal["bytes", "floats", "integers"]
    start: int
    stop: int


def features_of(window: Window, start: int, stop: int, wanted: Container[bytes] | None = None) -> dict[bytes, Feature]:
    """The features of an example at bytes [start, stop), by name; those that are `wanted` only, unless None.

    Raises ValueError if it is not an example.
    """
    found: dict[bytes, Feature] = {}
    for features in _messages(window, start, stop, 1):
        for entry in _messages(window, *features, 1):
            name, value = b"", None
            for number, wire, at, end in fields(window, *entry):
                if number == 1 and wire == LENGTH:
                    if end - at > MAX_NAME_BYTES:
                        raise ValueError(f"a name of {end - at} bytes at byte {at}")
                    name = window.read(at, end - at)
                    if wanted is not None and name not in wanted:
                        break
                elif number == 2 and wire == LENGTH:
                    value = (at, end)
            else:
                feature = None if value is None else _feature(window, *value)
                if feature is not None:
                    found[name] = feature
                if len(found) > MAX_FEATURES:
                    raise ValueError(f"more than {MAX_FEATURES} features")
    return found


def byte_ranges(window: Window, feature: Feature, limit: int = MAX_VALUES) -> list[tuple[int, int]]:
    """Where the values of a list of bytes are, at most `limit` of them."""
    ranges: list[tuple[int, int]] = []
    for one in _messages(window, feature.start, feature.stop, 1):
        if len(ranges) == limit:
            break
        ranges.append(one)
    return ranges


def numbers_of(window: Window, feature: Feature, limit: int = MAX_VALUES) -> list[int] | list[float]:
    """The values of a list of floats or integers, packed or not, at most `limit` of them."""
    return _integers(window, feature, limit) if feature.kind == "integers" else _floats(window, feature, limit)


def _integers(window: Window, feature: Feature, limit: int) -> list[int]:
    found: list[int] = []
    for number, wire, at, end in fields(window, feature.start, feature.stop):
        if number != 1 or wire not in (VARINT, LENGTH):
            continue
        while at < end and len(found) < limit:
            value, at = window.varint(at)
            found.append(signed(value))
        if at > end:
            raise ValueError(f"an integer reaches beyond byte {end}")
    return found


def _floats(window: Window, feature: Feature, limit: int) -> list[float]:
    found: list[float] = []
    for number, wire, at, end in fields(window, feature.start, feature.stop):
        if number == 1 and wire in (FOUR_BYTES, LENGTH):
            count = min((end - at) // 4, limit - len(found))
            found += struct.unpack(f"<{count}f", window.read(at, 4 * count))
    return found


def _feature(window: Window, start: int, stop: int) -> Feature | None:
    """The list in a feature; of several, the last, as protobuf defines it."""
    feature = None
    for number, wire, at, end in fields(window, start, stop):
        if wire == LENGTH and number in _KINDS:
            feature = Feature(_KINDS[number], at, end)
    return feature


def _messages(window: Window, start: int, stop: int, number: int) -> Iterator[tuple[int, int]]:
    """The ranges of the fields of this number that have a length."""
    return ((at, end) for found, wire, at, end in fields(window, start, stop) if found == number and wire == LENGTH)
