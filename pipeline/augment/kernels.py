"""Per-image offsets, boxes, colors and rectangles, computed for a whole batch by compiled loops over its rows."""

import math

import numpy as np
from numpy.typing import NDArray

from ...prep.format.compiled import compiled
from ..epochs.draws import BOX, ERASE, GRAYSCALE, TWIST, random_words, uniform

_TRIES = 10  # as in torchvision
_GRAY = (0.299, 0.587, 0.114)  # of R, G, B, Rec. 601


def normalized_offsets(
    offsets_N2: NDArray[np.int64], num_offsets_HW: tuple[int, int] | NDArray[np.int64]
) -> NDArray[np.float32]:
    """Crop offsets in px as fractions of the slack along each axis, 0.5 if there is no slack; float32 (N, 2).

    `num_offsets_HW` is the slack plus one, for all images or, as (N, 2), for each.
    """
    normalized_N2 = np.empty(offsets_N2.shape, np.float32)
    slack_N2 = np.empty(offsets_N2.shape, np.int64)
    slack_N2[:] = num_offsets_HW
    _normalize(offsets_N2, slack_N2 - 1, normalized_N2)
    return normalized_N2


@compiled
def _normalize(offsets: NDArray[np.int64], slack: NDArray[np.int64], normalized: NDArray[np.float32]) -> None:
    for i in range(len(offsets)):
        for axis in range(2):
            normalized[i, axis] = offsets[i, axis] / slack[i, axis] if slack[i, axis] else 0.5


def mean_colors(
    mean_C: NDArray[np.float32], shift_KC: NDArray[np.float32] | None, alpha_B3: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The mean color minus each image's color shift, float32 (B, 3)."""
    means_B3 = np.empty_like(alpha_B3)
    _fill_means(mean_C, alpha_B3, np.zeros((3, 3), np.float32) if shift_KC is None else shift_KC, means_B3)
    return means_B3


@compiled
def _fill_means(
    mean: NDArray[np.float32], alpha: NDArray[np.float32], shift: NDArray[np.float32], means: NDArray[np.float32]
) -> None:
    for i in range(len(means)):
        for color in range(3):
            means[i, color] = mean[color]
            for component in range(3):
                means[i, color] -= alpha[i, component] * shift[component, color]


def draw_boxes(
    seed: int,
    epoch: int,
    numbers_B: NDArray[np.int64],
    shapes_B2: NDArray[np.int64],
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> NDArray[np.int32]:
    """Top, left, height and width of a random box in each image, int32 (B, 4), drawn as in torchvision.

    Args:
        seed: 0 to 2**64 - 1.
        epoch: Counted from 0.
        numbers_B: Sample indices.
        shapes_B2: Heights and widths of the images in px.
        scale: Minimum and maximum fraction of the area.
        ratio: Minimum and maximum ratio of width to height, uniform in its logarithm.
    """
    boxes_B4 = np.empty((len(numbers_B), 4), np.int32)
    _boxes(np.uint64(seed), np.uint64(epoch), numbers_B, shapes_B2, scale, ratio, boxes_B4)
    return boxes_B4


@compiled
def _fitting(
    seed: np.uint64,
    epoch: np.uint64,
    number: int,
    purpose: np.uint64,
    first: int,
    image: tuple[int, int],
    most: tuple[int, int],
    scale: tuple[float, float],
    bounds: tuple[float, float],
    of_width: bool,
) -> tuple[int, int, int, int]:
    """Top, left, height and width of the first of ten random rectangles in `image` that is no larger than `most`.

    Zeros if none is. `bounds` limit the logarithm of width / height if `of_width`, else of height / width.
    """
    for attempt in range(first, first + _TRIES):
        words = random_words(seed, epoch, number, purpose, attempt)
        area = image[0] * image[1] * (scale[0] + (scale[1] - scale[0]) * uniform(words[0]))
        aspect = math.exp(bounds[0] + (bounds[1] - bounds[0]) * uniform(words[1]))
        along, across = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        height, width = (across, along) if of_width else (along, across)
        if 0 < height <= most[0] and 0 < width <= most[1]:
            top, left = uniform(words[2]) * (image[0] - height + 1), uniform(words[3]) * (image[1] - width + 1)
            return int(top), int(left), height, width
    return 0, 0, 0, 0


@compiled
def _boxes(
    seed: np.uint64,
    epoch: np.uint64,
    numbers: NDArray[np.int64],
    shapes: NDArray[np.int64],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    boxes: NDArray[np.int32],
) -> None:
    bounds = (math.log(ratio[0]), math.log(ratio[1]))
    for i in range(len(boxes)):
        image_height, image_width = shapes[i]
        top, left, height, width = _fitting(
            seed,
            epoch,
            numbers[i],
            BOX,
            0,
            (image_height, image_width),
            (image_height, image_width),
            scale,
            bounds,
            True,
        )
        if height == 0:  # no box fits: the central crop with the closest ratio
            aspect = image_width / image_height
            height, width = image_height, image_width
            if aspect < ratio[0]:
                height = min(round(width / ratio[0]), image_height)
            elif aspect > ratio[1]:
                width = min(round(height * ratio[1]), image_width)
            top, left = (image_height - height) // 2, (image_width - width) // 2
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = top, left, height, width


def draw_colors(
    seed: int,
    epoch: int,
    numbers_B: NDArray[np.int64],
    widths: tuple[float, float, float, float],
    grayscale: float,
) -> NDArray[np.float32]:
    """The affine color map of each image, float32 (B, 3, 4), as `ColorJitter` defines it.

    Args:
        seed: 0 to 2**64 - 1.
        epoch: Counted from 0.
        numbers_B: Sample indices.
        widths: The ranges of brightness, contrast, saturation and hue.
        grayscale: Probability that an image loses its color, after the other four.
    """
    colors_B34 = np.empty((len(numbers_B), 3, 4), np.float32)
    _colors(
        np.uint64(seed),
        np.uint64(epoch),
        numbers_B,
        np.array(widths, np.float64),
        grayscale,
        _TO_YIQ,
        _FROM_YIQ,
        colors_B34,
    )
    return colors_B34


_TO_YIQ = np.array([_GRAY, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


@compiled
def _colors(
    seed: np.uint64,
    epoch: np.uint64,
    numbers: NDArray[np.int64],
    widths: NDArray[np.float64],
    grayscale: float,
    to_yiq: NDArray[np.float64],
    from_yiq: NDArray[np.float64],
    colors: NDArray[np.float32],
) -> None:
    saturate, turn = np.empty((3, 3)), np.zeros((3, 3))
    for i in range(len(colors)):
        words = random_words(seed, epoch, numbers[i], TWIST, 0)
        factors = np.empty(3, np.float64)
        for k in range(3):
            least = max(0.0, 1 - widths[k])
            factors[k] = least + (1 + widths[k] - least) * uniform(words[k])
        angle = 2 * math.pi * widths[3] * (2 * uniform(words[3]) - 1)
        gray = uniform(random_words(seed, epoch, numbers[i], GRAYSCALE, 0)[0]) < grayscale
        saturation = 0.0 if gray else factors[2]
        for row in range(3):
            for column in range(3):
                saturate[row, column] = (1 - saturation) * _GRAY[column] + (saturation if row == column else 0.0)
        turn[0, 0], turn[1, 1], turn[2, 2] = 1.0, math.cos(angle), math.cos(angle)
        turn[1, 2], turn[2, 1] = -math.sin(angle), math.sin(angle)
        # A grayscale image skips the rotation of hue, so that it stays gray.
        matrix = saturate if gray else _product(_product(from_yiq, _product(turn, to_yiq)), saturate)
        for row in range(3):
            total = 0.0
            for column in range(3):
                colors[i, row, column] = matrix[row, column] * factors[0] * factors[1]
                total += matrix[row, column]
            colors[i, row, 3] = total * 128 * (1 - factors[1])


@compiled
def _product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    c = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                c[i, j] += a[i, k] * b[k, j]
    return c


def draw_erased(
    seed: int,
    epoch: int,
    numbers_B: NDArray[np.int64],
    view_HW: tuple[int, int],
    probability: float,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> NDArray[np.int32]:
    """Top, left, height and width of the rectangle to erase in each view, int32 (B, 4); zeros to erase nothing.

    Args:
        seed: 0 to 2**64 - 1.
        epoch: Counted from 0.
        numbers_B: Sample indices.
        view_HW: Height and width of a view in px.
        probability: Probability that a view is erased.
        scale: Minimum and maximum fraction of the view's area.
        ratio: Minimum and maximum ratio of height to width, uniform in its logarithm.
    """
    erased_B4 = np.zeros((len(numbers_B), 4), np.int32)
    _erased(np.uint64(seed), np.uint64(epoch), numbers_B, view_HW, probability, scale, ratio, erased_B4)
    return erased_B4


@compiled
def _erased(
    seed: np.uint64,
    epoch: np.uint64,
    numbers: NDArray[np.int64],
    view: tuple[int, int],
    probability: float,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    erased: NDArray[np.int32],
) -> None:
    bounds, most = (math.log(ratio[0]), math.log(ratio[1])), (view[0] - 1, view[1] - 1)
    for i in range(len(erased)):
        if uniform(random_words(seed, epoch, numbers[i], ERASE, 0)[0]) >= probability:
            continue
        erased[i, 0], erased[i, 1], erased[i, 2], erased[i, 3] = _fitting(
            seed, epoch, numbers[i], ERASE, 1, view, most, scale, bounds, False
        )
