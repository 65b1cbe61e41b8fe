"""Every option that shapes a stored pixel, and the names of its choices."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from ...errors import InputError

Filter = Literal["bilinear", "bicubic", "lanczos", "area"]
Fit = Literal["crop", "shorter"]
ImageFormat = Literal["jpeg", "png", "webp", "raw"]
Chroma = Literal["420", "444"]
Decode = Literal["full", "scaled"]
Geometry = Literal["rescale-then-crop", "crop-then-resize"]

FILTERS: tuple[Filter, ...] = get_args(Filter)
IMAGE_EXTENSIONS: dict[ImageFormat, str] = {"jpeg": "jpg", "png": "png", "webp": "webp", "raw": "raw"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelOptions:
    """Every option that shapes a stored pixel. Raises InputError for a value that is not one of the choices."""

    size_px: int = 256
    """Shorter side of the stored image, pixels, 8 to 4096."""
    fit: Fit = "crop"
    """`crop`: the central square of side `size_px`; `shorter`: the whole image with that shorter side."""
    filter: Filter = "bilinear"
    """How images are rescaled; `prep.images.resize` defines each."""
    format: ImageFormat = "jpeg"
    """How images are stored; `raw` is uint8 RGB, height x width x 3, without a header; `webp` is for adopted sets."""
    quality: int = 95
    """JPEG quality, 1 to 100."""
    chroma: Chroma = "420"
    """JPEG chroma subsampling."""
    lenient: bool = False
    """Whether damaged JPEGs are kept as the decoder patches them."""
    decode: Decode = "full"
    """`scaled`: JPEGs are decoded at 1/2, 1/4 or 1/8 of their size if that leaves twice `size_px` or more."""
    max_pixels: int | None = None
    """Most pixels a source image may have; None: as many as 1 GiB of memory allows for its format."""
    geometry: Geometry = "rescale-then-crop"
    """Whether images were rescaled and then cropped, or, in sets of earlier versions, cropped and then resized."""

    def __post_init__(self) -> None:
        if not 8 <= self.size_px <= 4096:
            raise InputError(f"size must be 8 to 4096 px, got {self.size_px}")
        _check_choice("fit", self.fit, Fit)
        if self.fit == "shorter" and self.format == "raw":
            raise InputError(
                "format raw stores no shape, so it cannot be used with --fit shorter; choose --fit crop or --format png"
            )
        _check_choice("filter", self.filter, Filter)
        _check_choice("format", self.format, ImageFormat)
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality must be 1 to 100, got {self.quality}")
        _check_choice("chroma", self.chroma, Chroma)
        _check_choice("decode", self.decode, Decode)
        if self.max_pixels is not None and self.max_pixels < 1:
            raise InputError(f"max pixels must be at least 1, got {self.max_pixels}")
        _check_choice("geometry", self.geometry, Geometry)

    @property
    def image_ext(self) -> str:
        """Extension of the image members in the tar."""
        return IMAGE_EXTENSIONS[self.format]


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise InputError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}")
