"""Resizing on the CPU in one compiled pass: antialiased bilinear, as `reference.resize` defines it.

Rows are mixed first, over all their bytes at once, then the pixels of the mixed row. Sums are float32 in a fixed order,
so results are the same on every processor; they differ from the reference by at most one gray level, where a sum is
within a float32 rounding error of a half. DALI's resizing takes four times as long (`benchmarks/README.md`).
"""

import math

import numpy as np
from numpy.typing import NDArray

from ...prep.format.compiled import Team, compiled
from ..augment.plan import Views


class Resizer:
    """Resizes the images of a batch, or boxes of them, with the threads of `team`; keeps its memory for the next batch.

    Boxes are resized to `crop_HW`. With `cuts_boxes`, they are cut out of the images first; otherwise the images are
    the boxes.
    """

    def __init__(self, crop_HW: tuple[int, int], team: Team, *, cuts_boxes: bool) -> None:
        self._crop_HW = crop_HW
        self._team = team
        self._cuts_boxes = cuts_boxes
        self._memory = np.empty(0, np.uint8)

    def resize(
        self, data: NDArray[np.uint8], starts_B: NDArray[np.int64], shapes_B2: NDArray[np.int64], views: Views
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
        """The resized images: their bytes, valid until the next call, where each starts, and heights and widths.

        `data`, `starts_B` and `shapes_B2` are the same of the images before.
        """
        row_bytes_B = 3 * shapes_B2[:, 1]
        if views.boxes_B4 is not None and self._cuts_boxes:
            boxes_B4 = views.boxes_B4.astype(np.int64)
            starts_B, shapes_B2 = starts_B + boxes_B4[:, 0] * row_bytes_B + 3 * boxes_B4[:, 1], boxes_B4[:, 2:]
        if views.sizes_B2 is not None:
            sizes_B2 = views.sizes_B2.astype(np.int64)
        else:
            sizes_B2 = np.tile(np.array(self._crop_HW, np.int64), (len(starts_B), 1))
        bounds = np.concatenate([[0], 3 * np.cumsum(sizes_B2.prod(axis=1))])
        if len(self._memory) < bounds[-1]:
            self._memory = np.empty(bounds[-1], np.uint8)
        out, starts_out_B = self._memory[: bounds[-1]], bounds[:-1]
        images = read_only(data), starts_B, row_bytes_B, np.ascontiguousarray(shapes_B2)
        self._team.run(_resize, len(starts_B), *images, out, starts_out_B, sizes_B2)
        return out, starts_out_B, sizes_B2


def read_only(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`data` read-only, as mapped shards are, so that one compiled loop serves both."""
    data = data.view()
    data.flags.writeable = False
    return data


@compiled
def _resize(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    row_bytes: NDArray[np.int64],
    shapes: NDArray[np.int64],
    out: NDArray[np.uint8],
    starts_out: NDArray[np.int64],
    sizes: NDArray[np.int64],
    first: int,
    end: int,
) -> None:
    for image in range(first, end):
        length, (height, width) = 3 * shapes[image, 1], sizes[image]
        first_row, row_weights = _triangles(shapes[image, 0], height)
        first_column, column_weights = _triangles(shapes[image, 1], width)
        mixed, total = np.empty(length, np.float32), np.empty(3 * width, np.float32)
        for y in range(height):
            mixed[:] = 0
            for k in range(len(row_weights)):
                at = starts[image] + (first_row[y] + k) * row_bytes[image]
                row, weight = data[at : at + length], row_weights[k, y]
                for x in range(length):
                    mixed[x] += weight * np.float32(row[x])
            total[:] = 0.5  # so that cutting off the fraction rounds
            for k in range(len(column_weights)):
                for x in range(width):
                    at, weight = 3 * (first_column[x] + k), column_weights[k, x]
                    for color in range(3):
                        total[3 * x + color] += weight * mixed[at + color]
            to = out[starts_out[image] + 3 * width * y : starts_out[image] + 3 * width * (y + 1)]
            for x in range(3 * width):
                to[x] = np.uint8(np.int32(total[x]))


@compiled
def _triangles(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each of `new` pixels along one axis, the first of the `old` pixels that it mixes, and their weights.

    The weights are (number of pixels mixed, new): those of a triangle as wide as two new or, if they are larger, two
    old pixels, around the center of the new one.
    """
    scale = old / new
    reach = max(scale, 1.0)
    num_mixed = min(math.ceil(2 * reach), old)
    first = np.empty(new, np.int64)
    weights = np.empty((num_mixed, new), np.float32)
    triangle = np.empty(num_mixed, np.float64)
    for i in range(new):
        center = (i + 0.5) * scale
        first[i] = min(max(int(np.floor(center - reach + 0.5)), 0), old - num_mixed)
        for k in range(num_mixed):
            triangle[k] = max(1 - abs(first[i] + k + 0.5 - center) / reach, 0.0)
        total = triangle.sum()
        for k in range(num_mixed):
            weights[k, i] = triangle[k] / total
    return first, weights
