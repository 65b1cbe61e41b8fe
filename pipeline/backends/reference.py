"""What every backend must compute, in Pillow and NumPy, one sample at a time. Tests hold the backends to it."""

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


def cut(pixels_HWC: NDArray[Any], offset_2: Array, mirror: bool, crop_HW: tuple[int, int]) -> NDArray[Any]:
    """Crop at a normalized offset, then mirror left to right. Bit for bit."""
    slack = np.array(pixels_HWC.shape[:2]) - crop_HW
    top, left = np.floor(offset_2 * slack + 0.5).astype(int)
    crop = pixels_HWC[top : top + crop_HW[0], left : left + crop_HW[1]]
    return crop[:, ::-1] if mirror else crop


def finish(plan: PixelPlan, pixels_HWC: NDArray[np.uint8], offset_2: Array, mirror: bool, mean_3: Array) -> Array:
    """One view (3, H, W), float32: gain * (pixel - mean - residual), the color shift being part of `mean_3`."""
    normalization = plan.normalization
    x_HWC = cut(pixels_HWC, offset_2, mirror, plan.crop_HW).astype(np.float32) - mean_3
    if normalization.residual_HWC is not None:
        # A mean that moves is the one of the pixel's own place: cut and mirrored with it.
        whole_HWC = normalization.residual_HWC
        x_HWC = x_HWC - (cut(whole_HWC, offset_2, mirror, plan.crop_HW) if normalization.residual_moves else whole_HWC)
    return (normalization.gain_C * x_HWC).transpose(2, 0, 1)
