"""The examples of one TFRecord file: the label of each, and where its image is."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....errors import InputError
from ...storage.by_offset import address_of, is_in_store
from ...storage.window import Window, window_of
from ..extras import checked_ext, column_extra, member_name
from ..inputs import Extra, SourceImage
from ..labels import RawLabel, class_id_of, raw_label
from .columns import Columns
from .example import MAX_VALUES, Feature, byte_ranges, features_of, numbers_of
from .framing import HEADER_BYTES, damage_in, records_in, refuse_record
from .image import ExampleImage

MAX_TEXT_BYTES = 2**16
"""Longest label, name or text to keep; longer bytes are kept by reference, as `.bin`."""


class Label(NamedTuple):
    """What an example says of its class; None for what it does not say."""

    label: RawLabel | None
    class_id: str | None
    class_name: str | None


class Row(NamedTuple):
    """One record. `label` is None if the record is so damaged that nothing was found in it."""

    label: Label | None
    image: ExampleImage


class _OddError(Exception):
    """An example that is not as expected: it is damaged, or else refused."""


def read_rows(path: Path, columns: Columns) -> Iterable[Row]:
    """The records of a file, in order: read while they are used, since one file may hold a million.

    A file in a store, of which several are read side by side, is read at once.

    Raises InputError, naming the byte, for a file that is damaged such that records cannot be told apart, and for an
    undamaged record that is no example or has several labels or images.
    """
    rows = _rows(path, columns)
    return list(rows) if is_in_store(address_of(path)) else rows


def where_of(image: SourceImage) -> str:
    """Where an image of a TFRecord file is, for messages."""
    assert isinstance(image, ExampleImage)
    return f"{image.container}, the record at byte {image.record_offset - HEADER_BYTES}"


def _rows(path: Path, columns: Columns) -> Iterator[Row]:
    with window_of(path) as window:
        yield from _rows_in(window, path, columns)


def _rows_in(window: Window, path: Path, columns: Columns) -> Iterator[Row]:
    address, stem = address_of(path), path.name.replace(".", "-")
    wanted = {name.encode("utf-8", "surrogateescape"): name for name in (*columns[:5], *columns.keep) if name}
    for number, record in enumerate(records_in(window, path)):
        image = ExampleImage(f"{stem}-{number:07d}", 0, address, 0, record.offset, record.offset, record.num_bytes)
        try:
            found = features_of(window, record.offset, record.offset + record.num_bytes, wanted)
            yield _row(window, {wanted[name]: feature for name, feature in found.items()}, columns, image)
        except (_OddError, ValueError) as error:
            if damage_in(path, record) is not None:
                yield Row(None, image)
            elif isinstance(error, _OddError | InputError):
                raise InputError(f"{where_of(image)}: {error}") from None
            else:
                refuse_record(path, record)


def _row(window: Window, features: dict[str, Feature], columns: Columns, image: ExampleImage) -> Row:
    label = Label(
        _label(window, features, columns.label),
        _class_id(_text(window, features, columns.class_id)),
        _text(window, features, columns.class_name),
    )
    start, stop = _image_range(window, features.get(columns.image), columns.image) or (image.offset, image.offset)
    file_name = Path(_text(window, features, columns.file_name) or "").name
    extras = [one for name in columns.keep if (one := _extra(window, features.get(name), name, image.path))]
    return Row(
        label,
        image._replace(
            name=file_name or image.name, num_bytes=stop - start, offset=start, extras=tuple(sorted(extras))
        ),
    )


def _image_range(window: Window, feature: Feature | None, name: str) -> tuple[int, int] | None:
    """Where the image is; None if there is none."""
    if feature is None:
        return None
    ranges = byte_ranges(window, feature, 2) if feature.kind == "bytes" else []
    if feature.kind != "bytes" or len(ranges) > 1:
        raise _OddError(f"{name} holds {'several images' if ranges else feature.kind}; expected the bytes of one image")
    return ranges[0] if ranges else None


def _label(window: Window, features: dict[str, Feature], name: str | None) -> RawLabel | None:
    feature = None if name is None else features.get(name)
    if feature is None or name is None:
        return None
    if feature.kind == "bytes":
        return raw_label(_text(window, features, name))
    values = numbers_of(window, feature, 2)
    if len(values) > 1:
        raise _OddError(
            f"{name} holds several labels; expected one class per image: choose another feature with --label-column"
        )
    if values and (label := raw_label(values[0])) is not None:
        return label
    if values:
        raise _OddError(f"{name} is {values[0]}; expected a class index or a name")
    return None


def _class_id(text: str | None) -> str | None:
    return None if text is None else class_id_of(text.strip()) or None


def _text(window: Window, features: dict[str, Feature], name: str | None) -> str | None:
    """The text of a feature; None if it has none."""
    feature = None if name is None else features.get(name)
    if feature is None:
        return None
    ranges = byte_ranges(window, feature, 2) if feature.kind == "bytes" else []
    if feature.kind != "bytes" or len(ranges) > 1:
        raise _OddError(f"{name} holds {'several texts' if ranges else feature.kind}; expected one text per image")
    if not ranges:
        return None
    ((start, stop),) = ranges
    if stop - start > MAX_TEXT_BYTES:
        raise _OddError(f"{name} has {stop - start} bytes; expected a name")
    return window.read(start, stop - start).decode("utf-8", "surrogateescape")


def _extra(window: Window, feature: Feature | None, name: str, address: str) -> Extra | None:
    """The value of a feature: bytes as `NAME.txt` or, unless they are text, `NAME.bin`; others as `NAME.json`."""
    if feature is None:
        return None
    if feature.kind != "bytes":
        values = numbers_of(window, feature)
        if len(values) == MAX_VALUES:
            raise _OddError(f"{name} holds {MAX_VALUES} values or more, which cannot be kept")
        # The shortest decimals that give the same float32.
        shown = [float(str(np.float32(value))) for value in values] if feature.kind == "floats" else values
        return column_extra(name, shown[0] if len(shown) == 1 else list(shown)) if shown else None
    ranges = byte_ranges(window, feature, 2)
    if len(ranges) > 1:
        raise _OddError(f"{name} holds several values of bytes, which cannot be kept")
    if not ranges:
        return None
    ((start, stop),) = ranges
    if stop - start > MAX_TEXT_BYTES:
        return Extra(checked_ext(f"{member_name(name)}.bin"), b"", address, start, stop - start)
    content = window.read(start, stop - start)
    try:
        return column_extra(name, content.decode())
    except UnicodeDecodeError:
        return column_extra(name, content)
