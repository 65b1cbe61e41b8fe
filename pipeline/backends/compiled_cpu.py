"""Batches on the CPU: DALI decodes, one compiled pass over the pixels does all the rest.

There a float batch is bound by memory, not arithmetic. DALI's crop_mirror_normalize and a mean image that is taken off
behind it write every number twice; this writes it once, so that mean image and color noise cost nothing. It computes
what `reference.py` says, as `graph.py` does on a GPU and, on the CPU, where own operators follow.
"""

import ctypes
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ...prep.format.compiled import Team, compiled
from ..augment import PixelPlan
from ..draws import Draws, draw
from ..samples import Stored
from .buffers import Buffers
from .dali import Graph, GraphError, GraphOptions, build_decoder, mean_colors

_KEPT_BUFFERS = 3  # one with the user, one being written, one more for `last_batch = batch`


class Cuts(NamedTuple):
    """The views of a batch, in its images: where each of B images starts in `data`, and the bytes of its rows; top and
    left of each view in px, image after image, and whether it is mirrored."""

    data: NDArray[np.uint8]
    starts_B: NDArray[np.int64]
    row_bytes_B: NDArray[np.int64]
    places_N2: NDArray[np.int64]
    mirrors_N: NDArray[np.bool_]


class HostGraph:
    """Batches go in with `start` and come out of `finished` in the same order, as with `Graph`.

    `finished` gives (B, 3, crop, crop), with `channels_last` (B, crop, crop, 3), with several views (B, views, ...);
    float32, or uint8 with `raw_pixels`. `data` are the stored images' bytes.
    """

    def __init__(self, plan: PixelPlan, data: NDArray[np.uint8], options: GraphOptions) -> None:
        self._plan = plan
        self._data = data
        self._size_px = options.pixels.size_px
        self._decoder = None if options.pixels.format == "raw" else Graph(build_decoder(options), plan, data)
        self._whole_images = options.pixels.fit == "shorter"
        self._under_way: deque[tuple[Stored, Draws | None]] = deque()
        crop, num_views = plan.crop_px, len(plan.views or (None,))
        image = (crop, crop, 3) if options.channels_last else (3, crop, crop)
        dtype = np.dtype(np.uint8 if options.raw_pixels else np.float32)
        views = (num_views,) if num_views > 1 else ()
        self._buffers = Buffers((options.batch_size, *views, *image), dtype, _KEPT_BUFFERS)
        # An image is written as planes of rows: three planes of `crop` numbers a row, or one of 3 * crop.
        self._rows = (1, crop, 3 * crop) if options.channels_last else (3, crop, crop)
        self._detail = _detail_rows(plan, options.channels_last)
        self._team = Team(options.num_threads)
        # A batch of nothing: the first one shall not wait for the compiler.
        none = np.empty(0, np.int64)
        draws = None if plan.views else draw(0, 0, none, none, plan.num_places)
        self._write(np.empty((0, *image), dtype), data, none, np.empty((0, 2), np.int64), draws)

    def __len__(self) -> int:
        """Batches started and not yet taken."""
        return len(self._under_way)

    def start(self, images: Stored, draws: Draws | None) -> None:
        """Begin to compute one batch."""
        if self._decoder is not None:
            self._decoder.start(images, None)
        self._under_way.append((images, draws))

    def finished(self, stream: Any = None) -> torch.Tensor:
        """The oldest batch; raises GraphError when DALI failed on it. `stream` is for GPUs."""
        images, draws = self._under_way.popleft()
        if self._decoder is None:
            data, starts_B = self._data, images.starts_B
            shapes_B2 = np.full((len(starts_B), 2), self._size_px)
        else:
            pixels = self._decoder.outputs()
            data, starts_B, shapes_B2 = _flat(pixels)
            if (shapes_B2.min(axis=1) != self._size_px).any():
                raise GraphError(f"decoded images must have a shorter side of {self._size_px} px")
        images_B, memory = self._buffers.take()
        self._write(memory, data, starts_B, shapes_B2, draws)
        return images_B

    def close(self) -> None:
        """End the threads, DALI's too."""
        self._team.close()
        if self._decoder is not None:
            self._decoder.close()

    def _write(
        self,
        memory: NDArray[Any],
        data: NDArray[np.uint8],
        starts_B: NDArray[np.int64],
        shapes_B2: NDArray[np.int64],
        draws: Draws | None,
    ) -> None:
        """Write the views of images of these heights and widths, which start in `data` at `starts_B`."""
        plan = self._plan
        data = data.view()
        data.flags.writeable = False  # as mapped shards are: the compiler makes one loop for both
        cuts = Cuts(data, starts_B, 3 * shapes_B2[:, 1], *self._views(shapes_B2, draws))
        out = memory.reshape(-1, *self._rows)
        if memory.dtype == np.uint8:
            self._team.run(_copy, len(out), out, cuts)
            return
        no_color_B3 = np.zeros((len(starts_B), 3), np.float32)
        means_B3 = mean_colors(plan, no_color_B3 if draws is None else draws.alpha_B3)
        self._team.run(_finish, len(out), out, cuts, means_B3, np.float32(plan.gain), self._detail, plan.detail_moves)

    def _views(self, shapes_B2: NDArray[np.int64], draws: Draws | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Top and left of every view in px, image after image, and whether it is mirrored."""
        plan, num_images = self._plan, len(shapes_B2)
        if plan.views is None:
            assert draws is not None
            places_BV2, mirrors_BV = draws.crop_B2[:, None], (draws.mirror_B & plan.flip)[:, None]
        else:
            places_BV2 = np.tile([(view.top, view.left) for view in plan.views], (num_images, 1, 1))
            mirrors_BV = np.tile([view.mirror for view in plan.views], (num_images, 1))
        if self._whole_images:
            play_BV2 = shapes_B2[:, None] - plan.crop_px
            places_BV2 = np.floor(plan.part(places_BV2) * play_BV2 + 0.5).astype(np.int64)
        return np.ascontiguousarray(places_BV2).reshape(-1, 2), np.ascontiguousarray(mirrors_BV).reshape(-1)


def _detail_rows(plan: PixelPlan, channels_last: bool) -> NDArray[np.float32]:
    """What to take off besides the mean color: (variants, planes, rows, numbers a row), laid out like the output.

    Without a mean image one row of zeros, which stands for all. One that moves has a second variant, mirrored.
    """
    if plan.detail_HWC is None:
        return np.zeros((1, 1, 1, 3 * plan.crop_px) if channels_last else (1, 3, 1, plan.crop_px), np.float32)
    whole_HWC = plan.scaled_detail_HWC()
    variants_MHWC = np.stack([whole_HWC, whole_HWC[:, ::-1]] if plan.detail_moves else [whole_HWC])
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
    addresses = np.array([pixels[i].data_ptr() for i in range(len(pixels))])
    shapes_B2 = np.array(pixels.shape())[:, :2]
    first, end = int(addresses.min()), int((addresses + 3 * shapes_B2.prod(axis=1)).max())
    span = np.ctypeslib.as_array((ctypes.c_uint8 * (end - first)).from_address(first))
    return span, addresses - first, shapes_B2


@compiled
def _finish(
    out: NDArray[np.float32],
    cuts: Cuts,
    means: NDArray[np.float32],
    gain: np.float32,
    detail: NDArray[np.float32],
    moves: bool,
    first: int,
    behind: int,
) -> None:
    """Views from `first` on: gain * (pixel - mean) - detail. `out` is (views, planes, crop, numbers a row)."""
    data, starts, row_bytes, places, mirrors = cuts
    planes, crop, length = out.shape[1:]
    rows = np.empty((planes, length), np.uint8)
    mean = np.empty((planes, length), np.float32)
    per_pixel = length // crop
    for number in range(first, behind):
        image = number * len(starts) // len(out)
        (top, left), mirror = places[number], mirrors[number]
        for plane in range(planes):
            for x in range(length):
                mean[plane, x] = means[image, plane if planes == 3 else x % 3]
        variant, row, column = 0, 0, 0
        if moves:
            variant, row = int(mirror), top
            column = per_pixel * left
            if mirror:
                column = detail.shape[3] - column - length
        for y in range(crop):
            _cut_row(rows, data, starts[image] + (top + y) * row_bytes[image] + 3 * left, crop, mirror)
            detail_row = min(row + y, detail.shape[2] - 1)
            for plane in range(planes):
                from_, take = rows[plane], mean[plane]
                off = detail[variant, plane, detail_row, column : column + length]
                to = out[number, plane, y]
                for x in range(length):
                    to[x] = (np.float32(from_[x]) - take[x]) * gain - off[x]


@compiled
def _copy(out: NDArray[np.uint8], cuts: Cuts, first: int, behind: int) -> None:
    """The same views as they are stored."""
    data, starts, row_bytes, places, mirrors = cuts
    crop = out.shape[2]
    for number in range(first, behind):
        image = number * len(starts) // len(out)
        (top, left), mirror = places[number], mirrors[number]
        for y in range(crop):
            _cut_row(out[number, :, y], data, starts[image] + (top + y) * row_bytes[image] + 3 * left, crop, mirror)


@compiled
def _cut_row(rows: NDArray[np.uint8], data: NDArray[np.uint8], start: int, crop: int, mirror: bool) -> None:
    """One row of a view, mirrored or not: three planes of bytes, or one where the colors stay together."""
    row = data[start : start + 3 * crop]
    last = 3 * (crop - 1)
    if rows.shape[0] == 3:
        red, green, blue = rows[0], rows[1], rows[2]
        if mirror:
            for x in range(crop):
                red[x], green[x], blue[x] = row[last - 3 * x], row[last - 3 * x + 1], row[last - 3 * x + 2]
        else:
            for x in range(crop):
                red[x], green[x], blue[x] = row[3 * x], row[3 * x + 1], row[3 * x + 2]
    elif mirror:
        for x in range(crop):
            for color in range(3):
                rows[0, 3 * x + color] = row[last - 3 * x + color]
    else:
        rows[0, :] = row
