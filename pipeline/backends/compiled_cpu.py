"""Batches on the CPU: DALI decodes, and compiled passes over the pixels do the rest: one, or two if images are resized.

On a CPU, a float batch is bound by memory, not arithmetic. DALI's crop_mirror_normalize followed by subtracting a mean
image writes every number twice; the last pass writes it once, so mean image and color noise cost nothing. Together they
compute what `reference.py` defines, as does the DALI graph on a GPU or, if the user adds operators, on a CPU.
"""

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ...prep.format.compiled import Team, compiled
from ..addresses import span
from ..augment.plan import PixelPlan, Views, warm_up_views
from ..storage.samples import Stored
from .backend import BackendError, BackendOptions
from .buffers import Buffers
from .resize import Resizer, read_only

if TYPE_CHECKING:
    from .dali import DaliDecoder

_NO_COLORS, _NONE_ERASED = np.empty((0, 3, 4), np.float32), np.empty((0, 4), np.int32)
_KEPT_BUFFERS = 3  # one with the user, one being written, one more for `last_batch = batch`


class Cuts(NamedTuple):
    """The views of a batch, as positions in its images."""

    data: NDArray[np.uint8]
    """The bytes of all images."""
    starts_B: NDArray[np.int64]
    """Where each of the B images starts in `data`."""
    row_bytes_B: NDArray[np.int64]
    """Bytes from one row of an image to the next."""
    corners_N2: NDArray[np.int64]
    """Top and left of each view in px, image after image."""
    mirrors_N: NDArray[np.bool_]
    """Whether each view is mirrored."""
    colors_B34: NDArray[np.float32]
    """Affine color map of each image; empty if colors do not change."""
    erased_B4: NDArray[np.int32]
    """Rectangle of zeros in each view; empty if nothing is erased."""


class CompiledCpu:
    """The backend for CPUs. `data` holds the bytes of the stored images."""

    num_random = 0

    def __init__(self, plan: PixelPlan, data: NDArray[np.uint8], options: BackendOptions) -> None:
        self._plan = plan
        self._data = data
        self._options = options
        self._size_px = options.pixels.size_px
        self._decoder = None if options.pixels.format == "raw" else _decoder(plan, data, options)
        self._under_way: deque[tuple[Stored, Views]] = deque()
        height, width = plan.crop_HW
        image = (height, width, 3) if options.channels_last else (3, height, width)
        dtype = np.dtype(np.uint8 if options.raw_pixels else np.float32)
        several = (plan.num_views,) if plan.num_views > 1 else ()
        shape = (options.batch_size, *several, *image)
        self._buffers = Buffers(shape, dtype, _KEPT_BUFFERS)
        # float16 and bfloat16 are converted from float32; NumPy has no bfloat16, so their memory holds integers.
        self._halves = Buffers(shape, np.dtype(np.int16), _KEPT_BUFFERS) if options.dtype.itemsize == 2 else None
        # An image is written as planes of rows: three planes with `width` numbers per row, or one with 3 * width.
        self._rows = (1, height, 3 * width) if options.channels_last else (3, height, width)
        self._residual = _residual_rows(plan, options.channels_last)
        self._team = Team(options.num_threads)
        self._resizer = None
        if plan.sampling != "stored":
            self._resizer = Resizer(plan.crop_HW, self._team, cuts_boxes=self._decoder is None)
        # Warm-up: run the kernels on an empty batch so that Numba compiles now.
        none, none_2 = np.empty(0, np.int64), np.empty((0, 2), np.int64)
        self._write(np.empty((0, *image), dtype), data, none, none_2, warm_up_views(plan))

    def __len__(self) -> int:
        return len(self._under_way)

    def start(self, images: Stored, views: Views) -> None:
        if self._decoder is not None:
            self._decoder.start(images, views.boxes_B4)
        self._under_way.append((images, views))

    def finish(self) -> torch.Tensor:
        images, views = self._under_way.popleft()
        if self._decoder is None:
            data, starts_B = self._data, images.starts_B
            shapes_B2 = np.full((len(starts_B), 2), self._size_px)
        else:
            pixels = self._decoder.outputs()
            data, starts_B, shapes_B2 = _flat(pixels)
            if self._plan.sampling == "stored" and (shapes_B2.min(axis=1) != self._size_px).any():
                raise BackendError(f"decoded images must have a shorter side of {self._size_px} px")
        images_B, memory = self._buffers.take()
        self._write(memory, data, starts_B, shapes_B2, views)
        if self._halves is not None:
            images_B = self._halves.take()[0].view(self._options.dtype).copy_(images_B)
        return images_B.movedim(-1, -3) if self._options.channels_last else images_B

    def close(self) -> None:
        self._team.close()
        if self._decoder is not None:
            self._decoder.close()

    def _write(
        self,
        memory: NDArray[Any],
        data: NDArray[np.uint8],
        starts_B: NDArray[np.int64],
        shapes_B2: NDArray[np.int64],
        views: Views,
    ) -> None:
        """Write the views of images with these heights and widths, which start in `data` at `starts_B`."""
        if self._resizer is not None:
            data, starts_B, shapes_B2 = self._resizer.resize(data, starts_B, shapes_B2, views)
        data = read_only(data)
        corners_N2 = np.empty((views.mirrors_BV.size, 2), np.int64)
        _fill_corners(views.offsets_BV2, shapes_B2, *self._plan.crop_HW, corners_N2)
        cuts = Cuts(
            data,
            starts_B,
            3 * shapes_B2[:, 1],
            corners_N2,
            views.mirrors_BV.reshape(-1),
            _NO_COLORS if views.colors_B34 is None else views.colors_B34,
            _NONE_ERASED if views.erased_B4 is None else views.erased_B4,
        )
        out = memory.reshape(-1, *self._rows)
        if memory.dtype == np.uint8:
            self._team.run(_copy, len(out), out, cuts)
            return
        normalization = self._plan.normalization
        moves, gain_C = normalization.residual_moves, normalization.gain_C
        self._team.run(_finish, len(out), out, cuts, views.means_B3, gain_C, self._residual, moves)


@compiled
def _fill_corners(
    offsets: NDArray[np.float32], shapes: NDArray[np.int64], height: int, width: int, corners: NDArray[np.int64]
) -> None:
    """Whole pixels nearest to the normalized offsets; halves round up."""
    num_views = offsets.shape[1]
    for i in range(len(corners)):
        image, view = i // num_views, i % num_views
        corners[i, 0] = np.int64(np.floor(offsets[image, view, 0] * (shapes[image, 0] - height) + 0.5))
        corners[i, 1] = np.int64(np.floor(offsets[image, view, 1] * (shapes[image, 1] - width) + 0.5))


def _decoder(plan: PixelPlan, data: NDArray[np.uint8], options: BackendOptions) -> "DaliDecoder":
    from .dali import DaliDecoder  # takes more than half a second, and raw pixels do not need it

    return DaliDecoder(plan, data, options)


def _residual_rows(plan: PixelPlan, channels_last: bool) -> NDArray[np.float32]:
    """What to subtract besides the mean color: (variants, planes, rows, numbers per row), laid out like the output.

    Without a mean image, one row of zeros serves all rows. A mean image that moves has a second, mirrored variant.
    """
    normalization, width = plan.normalization, plan.crop_HW[1]
    if normalization.residual_HWC is None:
        return np.zeros((1, 1, 1, 3 * width) if channels_last else (1, 3, 1, width), np.float32)
    whole_HWC = normalization.scaled_residual_HWC()
    variants_MHWC = np.stack([whole_HWC, whole_HWC[:, ::-1]] if normalization.residual_moves else [whole_HWC])
    num_variants, height, width, _ = variants_MHWC.shape
    if channels_last:
        return np.ascontiguousarray(variants_MHWC).reshape(num_variants, 1, height, 3 * width)
    return np.ascontiguousarray(variants_MHWC.transpose(0, 3, 1, 2))


def _flat(pixels: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Decoded images as one array of bytes, where each starts in it, and their (B, 2) heights and widths.

    The array does not keep the DALI tensors alive.
    """
    if pixels.is_dense_tensor():
        images_BHWC = np.asarray(pixels.as_tensor())
        num_images, height, width, _ = images_BHWC.shape
        return (
            images_BHWC.reshape(-1),
            np.arange(num_images) * (3 * height * width),
            np.tile([height, width], (num_images, 1)),
        )
    shapes_B2 = np.array(pixels.shape())[:, :2]
    addresses_B = np.array([pixels[i].data_ptr() for i in range(len(pixels))])
    data, starts_B = span(addresses_B, 3 * shapes_B2.prod(axis=1))
    return data, starts_B, shapes_B2


@compiled
def _finish(
    out: NDArray[np.float32],
    cuts: Cuts,
    means: NDArray[np.float32],
    gain: NDArray[np.float32],
    residual: NDArray[np.float32],
    moves: bool,
    first: int,
    end: int,
) -> None:
    """Write views `first` to `end` - 1: gain * (pixel - mean) - residual. `out` is (views, planes, height, row)."""
    data, starts, row_bytes, corners, mirrors, colors, erased = cuts
    planes, height, length = out.shape[1:]
    rows = np.empty((planes, length), np.uint8)
    colored = np.empty(length * planes, np.uint8)
    mean = np.empty((planes, length), np.float32)
    scale = np.empty((planes, length), np.float32)
    per_pixel = 1 if planes == 3 else 3
    width = length // per_pixel
    for plane in range(planes):
        for x in range(length):
            scale[plane, x] = gain[plane if planes == 3 else x % 3]
    for number in range(first, end):
        image = number * len(starts) // len(out)
        (top, left), mirror = corners[number], mirrors[number]
        for plane in range(planes):
            for x in range(length):
                mean[plane, x] = means[image, plane if planes == 3 else x % 3]
        variant, row, column = 0, 0, 0
        if moves:
            variant, row = int(mirror), top
            column = per_pixel * left
            if mirror:
                column = residual.shape[3] - column - length
        for y in range(height):
            at = starts[image] + (top + y) * row_bytes[image] + 3 * left
            if len(colors):
                _map_colors(data[at : at + 3 * width], colors[image], colored)
                _cut_row(rows, colored, 0, width, mirror)
            else:
                _cut_row(rows, data, at, width, mirror)
            residual_row = min(row + y, residual.shape[2] - 1)
            for plane in range(planes):
                from_, take, by = rows[plane], mean[plane], scale[plane]
                off = residual[variant, plane, residual_row, column : column + length]
                to = out[number, plane, y]
                for x in range(length):
                    to[x] = (np.float32(from_[x]) - take[x]) * by[x] - off[x]
        if len(erased):
            _erase(out[number], erased[image], per_pixel)


@compiled
def _copy(out: NDArray[np.uint8], cuts: Cuts, first: int, end: int) -> None:
    """The same views as gray levels, without normalization."""
    data, starts, row_bytes, corners, mirrors, colors, erased = cuts
    planes, height, length = out.shape[1:]
    width = length if planes == 3 else length // 3
    colored = np.empty(3 * width, np.uint8)
    for number in range(first, end):
        image = number * len(starts) // len(out)
        (top, left), mirror = corners[number], mirrors[number]
        for y in range(height):
            at = starts[image] + (top + y) * row_bytes[image] + 3 * left
            if len(colors):
                _map_colors(data[at : at + 3 * width], colors[image], colored)
                _cut_row(out[number, :, y], colored, 0, width, mirror)
            else:
                _cut_row(out[number, :, y], data, at, width, mirror)
        if len(erased):
            _erase(out[number], erased[image], 1 if planes == 3 else 3)


@compiled
def _cut_row(rows: NDArray[np.uint8], data: NDArray[np.uint8], start: int, width: int, mirror: bool) -> None:
    """One row of a view, mirrored or not: three planes of bytes, or one plane with interleaved colors."""
    row = data[start : start + 3 * width]
    at = np.uint64(3 * (width - 1))  # unsigned: an index that might be negative is wrapped, in six times the time
    if rows.shape[0] == 3:
        red, green, blue = rows[0], rows[1], rows[2]
        if mirror:
            for x in range(width):
                red[x], green[x], blue[x] = row[at], row[at + np.uint64(1)], row[at + np.uint64(2)]
                at -= np.uint64(3)
        else:
            for x in range(width):
                red[x], green[x], blue[x] = row[3 * x], row[3 * x + 1], row[3 * x + 2]
        return
    to = rows[0]
    if mirror:
        for x in range(width):
            for color in range(3):
                to[3 * x + color] = row[at + np.uint64(color)]
            at -= np.uint64(3)
    else:
        for x in range(3 * width):
            to[x] = row[x]


@compiled
def _map_colors(row: NDArray[np.uint8], color: NDArray[np.float32], colored: NDArray[np.uint8]) -> None:
    """Apply an affine map to the colors of one row of a view, then round and clip to gray levels.

    Both rows have interleaved colors: mapping three planes takes five times as long.
    """
    for x in range(len(row) // 3):
        red, green, blue = np.float32(row[3 * x]), np.float32(row[3 * x + 1]), np.float32(row[3 * x + 2])
        for k in range(3):
            value = color[k, 0] * red + color[k, 1] * green + color[k, 2] * blue + color[k, 3]
            colored[3 * x + k] = np.uint8(min(max(value + np.float32(0.5), np.float32(0)), np.float32(255)))


@compiled
def _erase(view: NDArray[Any], rectangle: NDArray[np.int32], per_pixel: int) -> None:
    top, left, height, width = rectangle
    view[:, top : top + height, per_pixel * left : per_pixel * (left + width)] = 0
