"""What the graph must compute, in Pillow and NumPy, one sample at a time. Tests hold the graph to it."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..augment import PixelPlan, View

Array = NDArray[np.float32]


def decode(encoded: bytes, *, format: str, size_px: int) -> NDArray[np.uint8]:
    """The stored uint8 RGB pixels (H, W, 3)."""
    if format == "raw":
        return np.frombuffer(encoded, np.uint8).reshape(size_px, size_px, 3)
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def cut(pixels_HWC: NDArray[Any], view: View, plan: PixelPlan) -> NDArray[Any]:
    """Crop, then mirror left to right. Bit for bit."""
    # In the square that is view.top and view.left; a whole image has more play along its longer side.
    parts = plan.part(np.array([view.top, view.left]))
    play = np.array(pixels_HWC.shape[:2]) - plan.crop_px
    top, left = np.floor(parts * play + 0.5).astype(int)
    crop = pixels_HWC[top : top + plan.crop_px, left : left + plan.crop_px]
    return crop[:, ::-1] if view.mirror else crop


def shift(plan: PixelPlan, alpha_3: Array) -> Array:
    """The color shift (3,) in gray levels of one sample's draw."""
    return np.zeros(3, np.float32) if plan.shift_KC is None else alpha_3 @ plan.shift_KC


def finish(plan: PixelPlan, pixels_HWC: NDArray[np.uint8], view: View, alpha_3: Array) -> Array:
    """One view (3, crop, crop), float32: gain * (pixel - mean + shift)."""
    x_HWC = cut(pixels_HWC, view, plan).astype(np.float32) - plan.mean_C
    if plan.detail_HWC is not None:
        # A mean that moves is the one of the pixel's own place: cut and mirrored with it.
        x_HWC = x_HWC - (cut(plan.detail_HWC, view, plan) if plan.detail_moves else plan.detail_HWC)
    return np.float32(plan.gain) * (x_HWC + shift(plan, alpha_3)).transpose(2, 0, 1)
