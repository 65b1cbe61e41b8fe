"""The fields of protobuf messages in a file, found without their definition and without reading their values.

No length is trusted: what does not fit into its message raises ValueError.
"""

from collections.abc import Iterator

from .window import Window

VARINT, _EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5  # wire types


def fields(window: Window, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type and range of every field of the message at bytes [start, stop)."""
    at = start
    while at < stop:
        tag, at = window.varint(at)
        wire = tag & 7
        if wire == LENGTH:
            size, at = window.varint(at)
            end = at + size
        elif wire == VARINT:
            end = window.varint(at)[1]
        elif wire in (FOUR_BYTES, _EIGHT_BYTES):
            end = at + (4 if wire == FOUR_BYTES else 8)
        else:
            raise ValueError(f"unknown wire type {wire} at byte {at}")
        if end > stop or tag < 8:
            raise ValueError(f"a field at byte {at} reaches beyond byte {stop}")
        yield tag >> 3, wire, at, end
        at = end


def signed(number: int) -> int:
    """The int64 that is encoded as this varint; bits beyond 64 are dropped, as protobuf does."""
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number
