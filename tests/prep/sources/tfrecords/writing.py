"""A writer of TFRecord files for tests, independent of the reader: protobuf and framing spelled out."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from crc32c import crc32c

Value = bytes | str | int | float | Sequence[bytes] | Sequence[str] | Sequence[int] | Sequence[float]


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(value: Value, *, packed: bool = True) -> bytes:
    values = [value] if isinstance(value, bytes | str | int | float) else list(value)
    if values and isinstance(values[0], bytes | str):
        encoded = [one.encode() if isinstance(one, str) else bytes(one) for one in values]  # type: ignore[arg-type]
        return message(1, b"".join(message(1, one) for one in encoded))
    if values and isinstance(values[0], float):
        floats = [struct.pack("<f", one) for one in values]
        return message(2, message(1, b"".join(floats)) if packed else b"".join(b"\x0d" + one for one in floats))
    numbers = [varint(int(one)) for one in values]
    return message(3, message(1, b"".join(numbers)) if packed else b"".join(b"\x08" + one for one in numbers))


def example(features: Mapping[str, Value], *, packed: bool = True) -> bytes:
    entries = [
        message(1, message(1, name.encode()) + message(2, feature(value, packed=packed)))
        for name, value in features.items()
    ]
    return message(1, b"".join(entries))


def checksum(content: bytes) -> bytes:
    number = crc32c(content)
    return struct.pack("<I", ((number >> 15 | number << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + checksum(length) + data + checksum(data)


def write_examples(path: Path, examples: Sequence[Mapping[str, Value] | bytes]) -> Path:
    """Write examples, or the bytes of records, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(record(one if isinstance(one, bytes) else example(one)) for one in examples))
    return path
