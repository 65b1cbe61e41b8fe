"""IDX files, as MNIST, Fashion-MNIST, KMNIST and EMNIST are downloaded, compressed by gzip or not.

A file is a header of big-endian numbers (kind, number of images, height, width) and gray pixels. EMNIST stores its
images transposed; they are turned upright.
"""

import re
import struct
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...storage.by_offset import ByOffset, address_of, opened
from ..inputs import SourceSplit
from ..lists.text_table import class_lines
from ..options import SourceOptions
from ..remarks import Remarks
from .image import Axes, PixelArray
from .rows import MAX_LABEL_BYTES, Found, Part, require_small, split_of
from .unpacked import MAX_UNPACKED_BYTES, Packing, unpack

# train-images-idx3-ubyte, t10k-labels.idx1-ubyte.gz, emnist-letters-test-images-idx3-ubyte
_NAME = re.compile(r"(.*?)(train|t10k|test)-(images|labels)[-.]idx([13])-ubyte(\.gz)?")
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}
_UINT8 = 8  # the third byte of the header


class _Files(NamedTuple):
    """The files of one split by their names; empty for one that is missing."""

    images: str
    labels: str
    stem: str


def recognize(names: Collection[str]) -> list[Found]:
    """The data sets in IDX files among files with these names: one, or several for EMNIST."""
    families: dict[tuple[str, bool], dict[str, dict[str, str]]] = {}
    of_t10k = {found[1] for name in names if (found := _NAME.fullmatch(name)) and found[2] == "t10k"}
    for name in sorted(names):  # an unpacked file precedes the packed one of its name
        if (found := _NAME.fullmatch(name)) and (found[3] == "images") == (found[4] == "3"):
            is_other = found[2] == "test" and found[1] in of_t10k  # which is the test split already
            split = families.setdefault((found[1], is_other), {}).setdefault(found[2], {})
            split.setdefault(found[3], name)
    result = []
    for (family, _), of_word in families.items():
        files = {
            _SPLITS[word]: _Files(of_kind["images"], of_kind.get("labels", ""), f"{family}{word}")
            for word, of_kind in of_word.items()
            if "images" in of_kind
        }
        if files:
            shown = {split: tuple(name for name in (one.images, one.labels) if name) for split, one in files.items()}
            kind = f"IDX files of {family.rstrip('-')}" if family else "IDX files"
            result.append(Found("idx", kind, shown, partial(_read, files, family, names)))
    return result


def _read(
    files: dict[str, _Files],
    family: str,
    names: Collection[str],
    folder: Path,
    split: str,
    options: SourceOptions,
    remarks: Remarks,
) -> SourceSplit:
    of_split = files[split]
    for name in (of_split.images, of_split.labels):
        if name and f"{name}.gz" in names:
            remarks.used.add(str(folder / f"{name}.gz"))
            remarks.pass_over("archives that are unpacked beside them", str(folder / f"{name}.gz"))
    if "test" in files and "train" not in files:
        remarks.note(f"{folder}: IDX files of the test split alone; is the download complete?")
    is_transposed = family.startswith("emnist")
    if is_transposed:
        remarks.note(f"{folder}: EMNIST's images, which are stored transposed, are turned upright")
    array = _images(folder / of_split.images, is_transposed=is_transposed)
    labels = None
    if of_split.labels:
        labels = _labels(folder / of_split.labels, array, of_split.images)
    mapping = f"{family}mapping.txt"
    table = None
    if is_transposed and mapping in names and labels is not None:
        remarks.used.add(str(folder / mapping))
        first, table = _characters(folder / mapping)
        labels = [label - first for label in labels]
    return split_of(split, [Part(array, labels, of_split.stem)], options, table=table)


def _images(path: Path, *, is_transposed: bool) -> PixelArray:
    header_bytes = 16
    packing: Packing = "gzip" if path.suffix == ".gz" else "none"
    with opened(path) as file:
        header = bytes(_unpack(path, file, packing, header_bytes))
        count, height, width = _sizes(path, header, 3)
        expected = header_bytes + count * height * width
        if packing == "none":
            found = file.num_bytes
        elif expected > MAX_UNPACKED_BYTES:
            raise InputError(
                f"{path}: {expected:,} bytes when unpacked, more than the {MAX_UNPACKED_BYTES:,} that each process "
                f"keeps in memory; unpack it: gunzip --keep {path.name}"
            )
        else:
            found = len(_unpack(path, file, packing, expected + 1))
        if found != expected or not count * height * width:
            raise InputError(
                f"{path}: {found:,} bytes{' when unpacked' if packing == 'gzip' else ''}; expected {expected:,} for "
                f"{count:,} images of {width} x {height} pixels; download it again"
            )
        address, num_bytes = address_of(path), file.num_bytes
    axes: Axes = "WH" if is_transposed else "HWC"
    # A transposed image of the file has its width first.
    sizes = (width, height) if is_transposed else (height, width)
    return PixelArray(address, header_bytes, count, height * width, axes, *sizes, 1, packing, 0, num_bytes)


def _labels(path: Path, array: PixelArray, images: str) -> list[int]:
    header_bytes = 8
    packing: Packing = "gzip" if path.suffix == ".gz" else "none"
    with opened(path) as file:
        require_small(path, file)
        content = bytes(_unpack(path, file, packing, min(MAX_LABEL_BYTES, header_bytes + array.num_images + 1)))
    (count,) = _sizes(path, content[:header_bytes], 1)
    if count != array.num_images:
        raise InputError(f"{path}: {count:,} labels, but {images} has {array.num_images:,} images; download both again")
    if len(content) != header_bytes + count:
        raise InputError(f"{path}: its size does not fit its {count:,} labels; download it again")
    return list(content[header_bytes:])


def _unpack(path: Path, file: ByOffset, packing: Packing, max_bytes: int) -> bytearray:
    try:
        return unpack(file, packing, 0, file.num_bytes, max_bytes)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _sizes(path: Path, header: bytes, num_axes: int) -> tuple[int, ...]:
    """The lengths of the axes; raises InputError for another kind of file."""
    kind = bytes((0, 0, _UINT8, num_axes))
    if len(header) != 4 + 4 * num_axes or header[:4] != kind:
        raise InputError(
            f"{path}: begins with {header[:4].hex(' ') or 'nothing'}; expected {kind.hex(' ')}, an IDX file of bytes "
            f"with {num_axes} ax{'es' if num_axes > 1 else 'is'}; download it again"
        )
    return struct.unpack(f">{num_axes}I", header[4:])


def _characters(path: Path) -> tuple[int, list[str]]:
    """EMNIST's classes: the first label, and the character of each; of several, as `A a`, the first."""
    rows = []
    for number, line in enumerate(class_lines(path), 1):
        words = line.split()
        if len(words) < 2 or not all(word.isdecimal() and len(word) < 7 for word in words):
            raise InputError(f"{path}, line {number}: {line!r}; expected a label and the codes of its characters")
        rows.append((int(words[0]), chr(int(words[1]))))
    rows.sort()
    first = rows[0][0] if rows else 0
    if [label for label, _ in rows] != list(range(first, first + len(rows))):
        raise InputError(f"{path}: labels with gaps; download it again")
    return first, [character for _, character in rows]
