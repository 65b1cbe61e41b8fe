"""What every backend must compute, in Pillow and NumPy, one sample at a time. Tests compare the backends with it."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..augment.plan import PixelPlan

Array = NDArray[np.float32]


def decode(encoded: bytes, *, format: str, size_px: int) -> NDArray[np.uint8]:
    """The stored uint8 RGB pixels (H, W, 3)."""
    if format == "raw":
        return np.frombuffer(encoded, np.uint8).reshape(size_px, size_px, 3)
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def resize(pixels_HWC: NDArray[np.uint8], size_HW: tuple[int, int]) -> NDArray[np.uint8]:
    """Bilinear; if the image shrinks, the triangle filter is as wide as an output pixel.

    The compiled step agrees within 1 gray level and DALI, which rounds its weights, within 3, or 0.2 on average.
    """
    rows, columns = (_triangles(old, new) for old, new in zip(pixels_HWC.shape[:2], size_HW, strict=True))
    resized_HWC = np.einsum("ih,hwc,jw->ijc", rows, pixels_HWC.astype(np.float64), columns, optimize=True)
    rounded_HWC: NDArray[np.uint8] = np.clip(np.floor(resized_HWC + 0.5), 0, 255).astype(np.uint8)
    return rounded_HWC


def _triangles(old: int, new: int) -> NDArray[np.float64]:
    """The weight of each of `old` pixels in each of `new` pixels along one axis."""
    scale = old / new
    centers = (np.arange(new) + 0.5) * scale
    distances = np.abs(np.arange(old) + 0.5 - centers[:, None]) / max(scale, 1.0)
    weights = np.maximum(1 - distances, 0)
    normalized: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalized


def map_colors(pixels_HWC: NDArray[np.uint8], color_34: Array) -> NDArray[np.uint8]:
    """An affine map of the colors, rounded and clipped to gray levels; backends agree within 1."""
    mapped_HWC = pixels_HWC @ color_34[:, :3].astype(np.float64).T + color_34[:, 3]
    return np.clip(np.floor(mapped_HWC + 0.5), 0, 255).astype(np.uint8)


def cut(pixels_HWC: NDArray[Any], offset_2: Array, mirror: bool, crop_HW: tuple[int, int]) -> NDArray[Any]:
    """Crop at a normalized offset, then mirror left to right. Backends agree bit for bit."""
    slack = np.array(pixels_HWC.shape[:2]) - crop_HW
    top, left = np.floor(offset_2 * slack + 0.5).astype(int)
    crop = pixels_HWC[top : top + crop_HW[0], left : left + crop_HW[1]]
    return crop[:, ::-1] if mirror else crop


def finish(plan: PixelPlan, pixels_HWC: NDArray[np.uint8], offset_2: Array, mirror: bool, mean_3: Array) -> Array:
    """One view (3, H, W), float32: gain * (pixel - mean - residual). `mean_3` includes the color shift."""
    normalization = plan.normalization
    x_HWC = cut(pixels_HWC, offset_2, mirror, plan.crop_HW).astype(np.float32) - mean_3
    if normalization.residual_HWC is not None:
        # A mean image that moves is cut and mirrored with the image.
        whole_HWC = normalization.residual_HWC
        x_HWC = x_HWC - (cut(whole_HWC, offset_2, mirror, plan.crop_HW) if normalization.residual_moves else whole_HWC)
    return (normalization.gain_C * x_HWC).transpose(2, 0, 1)
