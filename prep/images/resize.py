"""Rescales with an antialiasing filter and crops, in one pass, with one of four exactly defined filters.

- `bilinear`, `bicubic`, `lanczos`: convolution with the filter widened by the downscaling factor, in integers and equal
  on every CPU. Pillow, and `antialias=True` elsewhere, do the same to within 0.25 gray levels on average over
  photographs.
- `area`: OpenCV's averages over pixel areas to shrink, cubic to enlarge, as in cuda-convnet2's preparation of ImageNet.
  Over photographs it differs from bilinear by one gray level on average, and takes three times as long.
"""

import functools
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Rescale

_CONVOLUTIONS = {"bilinear": ("bilinear", 1), "bicubic": ("catmull_rom", 2), "lanczos": ("lanczos3", 3)}
# OpenCV only rescales whole images. If the whole would be larger than this, which takes an aspect ratio of hundreds,
# the strip around the crop is cut out first, to the nearest source pixel.
_MAX_WHOLE_PIXELS = 2**25


def use_one_thread() -> None:
    """Keep OpenCV from starting threads in this process; for workers, which prepare whole shards in parallel."""
    cv2.setNumThreads(1)


def resize(image_HWC: NDArray[np.uint8], rescale: Rescale, filter_: str) -> NDArray[np.uint8]:
    """Rescale and crop a uint8 image (H, W, 3) of any strides by a filter of `FILTERS`; returns a contiguous array."""
    if rescale.keeps_pixels:
        return np.ascontiguousarray(_crop(image_HWC, rescale))
    if filter_ == "area":
        return _resize_area(image_HWC, rescale)
    name, support = _CONVOLUTIONS[filter_]
    library, resizer, algorithm = _convolution(name)
    (top, bottom), (left, right) = (rescale.rows_read(axis, support) for axis in (0, 1))
    (box_top, box_bottom), (box_left, box_right) = (rescale.box(axis) for axis in (0, 1))
    read_HWC = image_HWC[top:bottom, left:right]
    source = library.ImageData(right - left, bottom - top, library.PixelType.U8x3, read_HWC.tobytes())
    height, width = rescale.crop_hw
    target = library.ImageData(width, height, library.PixelType.U8x3)
    x, y = box_left - left, box_top - top
    # Rounding may put the far edge a billionth of a pixel outside, which the library would refuse.
    box_width, box_height = min(box_right - box_left, right - left - x), min(box_bottom - box_top, bottom - top - y)
    box = library.CropBox(x, y, box_width, box_height)
    resizer.resize(source, target, library.ResizeOptions(resize_alg=algorithm, crop_box=box))
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(height, width, 3)


def _resize_area(image_HWC: NDArray[np.uint8], rescale: Rescale) -> NDArray[np.uint8]:
    method = cv2.INTER_AREA if rescale.shrinks else cv2.INTER_CUBIC
    if math.prod(rescale.scaled_hw) > max(_MAX_WHOLE_PIXELS, 2 * math.prod(rescale.crop_hw)):
        (top, bottom), (left, right) = ((round(begin), round(end)) for begin, end in map(rescale.box, (0, 1)))
        cut_HWC = image_HWC[top : max(bottom, top + 1), left : max(right, left + 1)]
        return np.asarray(cv2.resize(cut_HWC, rescale.crop_hw[::-1], interpolation=method), np.uint8)
    whole_HWC = cv2.resize(image_HWC, rescale.scaled_hw[::-1], interpolation=method)
    return np.ascontiguousarray(_crop(np.asarray(whole_HWC, np.uint8), rescale))


def _crop(image_HWC: NDArray[np.uint8], rescale: Rescale) -> NDArray[np.uint8]:
    (top, left), (height, width) = rescale.offset_hw, rescale.crop_hw
    return image_HWC[top : top + height, left : left + width]


@functools.cache
def _convolution(name: str) -> tuple[Any, Any, Any]:
    try:
        import cykooz_resizer as library
    except ImportError as error:
        raise ImportError(
            "this filter needs cykooz-resizer: pip install cykooz-resizer, or use --filter area"
        ) from error
    return library, library.Resizer(), library.ResizeAlg.convolution(library.FilterType[name])
