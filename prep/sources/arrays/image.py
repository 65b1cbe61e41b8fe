"""An image that is one row of an array of pixels in a file.

Reading it gives a binary PPM (RGB) or PGM (gray), which is a header and the pixels themselves: lossless, and the same
bytes on every machine, unlike PNG, whose bytes depend on the version of zlib.
"""

from typing import Literal, NamedTuple

import numpy as np

from ....errors import InputError
from ...storage.by_offset import is_in_store, shown
from ..inputs import Extra, read_range, require_size
from .unpacked import MAX_UNPACKED_BYTES, Packing, unpacked

Axes = Literal["HWC", "CHW", "CWH", "WH"]
"""The order of an image's axes in the file, the slowest first; C is 1 for gray images."""


class PixelArray(NamedTuple):
    """An array of uint8 images in a file. All images of one array share it."""

    path: str
    """What `address_of` returns for the file."""
    start: int
    """Where the array begins in the file or, if it is packed, in the unpacked bytes."""
    num_images: int
    row_bytes: int
    """Bytes from an image to the next: its own and those of its label, if that is stored with it."""
    axes: Axes
    height: int
    width: int
    channels: int
    packing: Packing = "none"
    """How the file, or the range of it that holds the array, is compressed."""
    packed_start: int = 0
    """Where the compressed bytes begin in the file."""
    num_packed: int = 0
    """Number of compressed bytes."""
    is_fortran: bool = False
    """Whether byte i of all images precedes byte i + 1 of any, as in an array in Fortran's order."""
    is_bgr: bool = False
    """Whether blue is the first of three channels."""

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        return self.height * self.width * self.channels

    @property
    def num_bytes(self) -> int:
        """Bytes from the first image to the end of the last, unpacked."""
        return (self.num_images - 1) * self.row_bytes + self.image_bytes

    def read_row(self, row: int) -> bytes:
        """The bytes of one image as they are stored."""
        require_size(self.image_bytes)
        offset = row * self.row_bytes
        # A store takes as long for a request as for a megabyte, so arrays are read whole if they can be kept.
        if self.packing == "none" and not self.is_fortran and not self._is_kept_of_store:
            return read_range(self.path, self.start + offset, self.image_bytes)
        if self.packing == "none":
            whole, start = unpacked(self.path, "none", self.start, self.num_bytes, self.num_bytes), 0
        else:
            end = self.start + self.num_bytes
            whole, start = unpacked(self.path, self.packing, self.packed_start, self.num_packed, end), self.start
        if self.is_fortran:
            return bytes(whole[start + row : start + self.num_bytes : self.num_images])
        return bytes(whole[start + offset : start + offset + self.image_bytes])

    @property
    def _is_kept_of_store(self) -> bool:
        return is_in_store(self.path) and self.num_bytes <= MAX_UNPACKED_BYTES


class ArrayImage(NamedTuple):
    """One row of an array."""

    name: str
    label: int
    array: PixelArray
    row: int
    extras: tuple[Extra, ...] = ()

    @property
    def num_bytes(self) -> int:
        """See `SourceImage`."""
        return self.array.image_bytes

    def read(self) -> bytes:
        """Return the image as a PPM or PGM; see `SourceImage`."""
        array = self.array
        data = array.read_row(self.row)
        if len(data) != array.image_bytes:
            raise InputError(f"only {len(data)} bytes, expected {array.image_bytes} as when the source was listed")
        return as_pnm(data, array)

    def labeled(self, label: int, class_id: str | None = None) -> "ArrayImage":
        """See `SourceImage`."""
        return self._replace(label=label, name=self.name if class_id is None else f"{class_id}/{self.name}")

    def keeping(self, extra: Extra) -> "ArrayImage":
        """See `SourceImage`."""
        return self._replace(extras=tuple(sorted((*self.extras, extra))))

    @property
    def container(self) -> str:
        """See `SourceImage`."""
        return shown(self.array.path)


def as_pnm(data: bytes, array: PixelArray) -> bytes:
    """The pixels of one image, in the order of the array's axes, as a binary PPM or PGM."""
    sizes = {"H": array.height, "W": array.width, "C": array.channels}
    stored = np.frombuffer(data, np.uint8).reshape([sizes[axis] for axis in array.axes])
    upright = stored.transpose([array.axes.index(axis) for axis in "HWC" if axis in array.axes])
    if array.is_bgr:
        upright = upright[..., ::-1]
    kind = "P6" if array.channels == 3 else "P5"
    return f"{kind}\n{array.width} {array.height}\n255\n".encode() + upright.tobytes()


def where_of(image: object) -> str:
    """Where an image of an array is, for messages."""
    assert isinstance(image, ArrayImage)
    return f"{image.container}, image {image.row}"
