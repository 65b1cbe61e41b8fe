"""Batches on the CPU: DALI decodes, one compiled pass over the pixels does all the rest.

There a float batch is bound by memory, not arithmetic. DALI's crop_mirror_normalize and a mean image that is taken off
behind it write every number twice; this writes it once, so that mean image and colour noise cost nothing. It computes
what `reference.py` says, as `graph.py` does on a GPU and, on the CPU, where own operators follow.
"""

import ctypes
from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..prep.compiled import Team, compiled
from .augment import PixelPlan
from .buffers import Buffers
from .draws import Draws
from .graph import Graph, build_decoder
from .samples import Stored

_KEPT_BUFFERS = 3  # one with the user, one being written, one more for `last_batch = batch`


class HostGraph:
    """Batches go in with `start` and come out of `finished` in the same order, as with `Graph`.

    `finished` gives (B, 3, crop, crop), with `channels_last` (B, crop, crop, 3), with several views (B, views, ...);
    float32, or uint8 with `raw_pixels`. Raises RuntimeError, as DALI does, for an image that does not decode or has
    another size than the set promises.
    """

    def __init__(
        self,
        plan: PixelPlan,
        data: NDArray[np.uint8],
        *,
        codec: str,
        whole_images: bool,
        batch_size: int,
        num_threads: int,
        raw_pixels: bool,
        channels_last: bool,
    ) -> None:
        self._plan = plan
        self._data = data
        self._whole_images = whole_images
        self._decoder: Graph | None = None
        if codec != "raw":
            decoder = build_decoder(
                codec, size_px=plan.size_px, batch_size=batch_size, device_id=None, num_threads=num_threads
            )
            self._decoder = Graph(decoder, plan, data)
        self._under_way: deque[tuple[Stored, Draws | None]] = deque()
        crop, num_views = plan.crop_px, len(plan.views or (None,))
        image = (crop, crop, 3) if channels_last else (3, crop, crop)
        views = (num_views,) if num_views > 1 else ()
        self._buffers = Buffers(
            (batch_size, *views, *image), np.dtype(np.uint8 if raw_pixels else np.float32), _KEPT_BUFFERS
        )
        # An image is written as planes of rows: three planes of `crop` numbers a row, or one of 3 * crop.
        self._rows = (1, crop, 3 * crop) if channels_last else (3, crop, crop)
        self._num_views = num_views
        self._detail = _detail_rows(plan, channels_last)
        self._raw_pixels = raw_pixels
        self._team = Team(num_threads)
        self._compile()

    def __len__(self) -> int:
        """Batches started and not yet taken."""
        return len(self._under_way)

    def start(self, images: Stored, draws: Draws | None) -> None:
        """Begin to compute one batch."""
        if self._decoder is not None:
            self._decoder.start(images, None)
        self._under_way.append((images, draws))

    def finished(self, stream: Any = None) -> torch.Tensor:
        """The oldest batch. `stream` is for GPUs."""
        images, draws = self._under_way.popleft()
        if self._decoder is None:
            data, starts_B = self._data, images.starts_B
            shapes_B2 = np.full((len(starts_B), 2), self._plan.size_px)
        else:
            pixels = self._decoder.outputs()
            data, starts_B, shapes_B2 = _flat(pixels)
            wrong_B = shapes_B2.min(axis=1) != self._plan.size_px
            if wrong_B.any() or not (self._whole_images or (shapes_B2 == self._plan.size_px).all()):
                raise RuntimeError(f"decoded images must have a shorter side of {self._plan.size_px} px")
        places_N2, mirrors_N = self._cuts(shapes_B2, draws)
        means_B3 = np.repeat(self._plan.mean_C[None], len(starts_B), axis=0)
        if draws is not None and self._plan.shift_KC is not None:
            means_B3 = means_B3 - draws.alpha_B3 @ self._plan.shift_KC
        images_B, memory = self._buffers.take()
        out = memory.reshape(-1, *self._rows)
        row_bytes_B = 3 * shapes_B2[:, 1]
        pixels_and_cuts = (data, starts_B, row_bytes_B, places_N2, mirrors_N)
        if self._raw_pixels:
            self._team.run(_copy, len(out), out, *pixels_and_cuts, self._num_views)
        else:
            values = (means_B3, np.float32(self._plan.gain), self._detail, self._plan.detail_moves)
            self._team.run(_finish, len(out), out, *pixels_and_cuts, *values, self._num_views)
        return images_B

    def close(self) -> None:
        """End the threads."""
        self._team.close()

    def _cuts(self, shapes_B2: NDArray[np.int64], draws: Draws | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
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

    def _compile(self) -> None:
        """Now, so that the first batch does not wait for it."""
        none, no_images = np.empty(0, np.int64), np.empty(0, np.uint8)
        places, mirrors, means = np.empty((0, 2), np.int64), np.empty(0, bool), np.empty((0, 3), np.float32)
        if self._raw_pixels:
            _copy(np.empty((0, *self._rows), np.uint8), no_images, none, none, places, mirrors, 1, 0, 0)
        else:
            out = np.empty((0, *self._rows), np.float32)
            gain, moves = np.float32(1), self._plan.detail_moves
            _finish(out, no_images, none, none, places, mirrors, means, gain, self._detail, moves, 1, 0, 0)


def _detail_rows(plan: PixelPlan, channels_last: bool) -> NDArray[np.float32]:
    """What to take off besides the mean colour: (variants, planes, rows, numbers a row), laid out like the output.

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
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    row_bytes: NDArray[np.int64],
    places: NDArray[np.int64],
    mirrors: NDArray[np.bool_],
    means: NDArray[np.float32],
    gain: np.float32,
    detail: NDArray[np.float32],
    moves: bool,
    num_views: int,
    first: int,
    behind: int,
) -> None:
    """Views from `first` on: gain * (pixel - mean) - detail. `out` is (views, planes, crop, numbers a row)."""
    planes, crop, length = out.shape[1:]
    rows = np.empty((planes, length), np.uint8)
    mean = np.empty((planes, length), np.float32)
    per_pixel = length // crop
    for number in range(first, behind):
        image = number // num_views
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
def _copy(
    out: NDArray[np.uint8],
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    row_bytes: NDArray[np.int64],
    places: NDArray[np.int64],
    mirrors: NDArray[np.bool_],
    num_views: int,
    first: int,
    behind: int,
) -> None:
    """The same views as they are stored."""
    crop = out.shape[2]
    for number in range(first, behind):
        image = number // num_views
        (top, left), mirror = places[number], mirrors[number]
        for y in range(crop):
            _cut_row(out[number, :, y], data, starts[image] + (top + y) * row_bytes[image] + 3 * left, crop, mirror)


@compiled
def _cut_row(rows: NDArray[np.uint8], data: NDArray[np.uint8], start: int, crop: int, mirror: bool) -> None:
    """One row of a view, mirrored or not: three planes of bytes, or one where the colours stay together."""
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
            for colour in range(3):
                rows[0, 3 * x + colour] = row[last - 3 * x + colour]
    else:
        rows[0, :] = row
