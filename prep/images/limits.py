"""Limits what one image may cost, by its header before anything is decoded, so that the decision is always the same.

Memory is predicted in bytes per pixel of the whole image, from the first byte read to the fitted square: the most that
each codec was seen to need, rounded up.
"""

from dataclasses import dataclass
from typing import Literal

from ...errors import InputError

MEMORY_BYTES = 2**30
"""Memory that one image may need unless `max_pixels` says otherwise."""
MAX_BYTES_PER_PIXEL = 48
MAX_SCANS = 100
"""Scans in a JPEG: encoders write about ten, and each costs a pass over the whole image."""

BYTES_PER_PIXEL = {
    "PNG": 14,
    "GIF": 12,
    "BMP": 12,
    "PNM": 12,
    "TIFF": 20,
    "WebP": 24,
    "AVIF": 24,
    "JPEG 2000": 30,
}
"""By format, without transparency; for JPEGs see `JpegHeader.bytes_per_pixel`."""
ALPHA_BYTES_PER_PIXEL = 12
"""Added for an image with transparency, which is composited over white."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeOptions:
    """How an image is decoded and what it may cost."""

    lenient: bool = False
    """Whether damaged JPEGs are kept as the decoder patches them."""
    decode: Literal["full", "scaled"] = "full"
    """`scaled`: JPEGs at 1/2, 1/4 or 1/8 of their size if that leaves twice `size_px` on the shorter side."""
    size_px: int = 256
    """Shorter side of the stored image, pixels; used only by `scaled`."""
    max_pixels: int | None = None
    """Most pixels an image may have; None: as many as `MEMORY_BYTES` allow for its format."""

    @property
    def memory_bytes(self) -> int:
        """Memory that decoding one image may take, in bytes."""
        return MEMORY_BYTES if self.max_pixels is None else max(MEMORY_BYTES, MAX_BYTES_PER_PIXEL * self.max_pixels)

    def check(self, width: int, height: int, bytes_per_pixel: int, kind: str) -> None:
        """Raise InputError if an image of width x height pixels, each taking `bytes_per_pixel`, is too large."""
        if self.max_pixels is not None:
            allowed = self.max_pixels
            reason = f"more than the {allowed} of --max-pixels"
        else:
            allowed = MEMORY_BYTES // bytes_per_pixel
            reason = f"more than the {allowed} that 1 GiB of memory allows for this kind of {kind}; see --max-pixels"
        if width * height > allowed:
            raise InputError(f"header promises {width} x {height} pixels, {reason}")
