"""Every choice that shapes a stored pixel, and the names it can be made by."""

from dataclasses import dataclass

from ...errors import InputError

FILTERS = ("bilinear", "bicubic", "lanczos", "area")
FITS = ("crop", "shorter")
IMAGE_EXTENSIONS = {"jpeg": "jpg", "png": "png", "raw": "raw"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelOptions:
    """Every choice that shapes a stored pixel.

    `fit` is `crop` for the central square of side `size_px`, or `shorter` for the whole image with that shorter side.
    `lenient` keeps inputs whose data the decoder had to patch over.
    """

    size_px: int = 256
    fit: str = "crop"
    filter: str = "bilinear"
    format: str = "jpeg"
    quality: int = 95
    chroma: str = "420"
    lenient: bool = False

    def __post_init__(self) -> None:
        if not 8 <= self.size_px <= 4096:
            raise InputError(f"size must be 8 to 4096 px, got {self.size_px}")
        if self.fit not in FITS:
            raise InputError(f"fit must be one of {', '.join(FITS)}, got {self.fit!r}")
        if self.fit == "shorter" and self.format == "raw":
            raise InputError("format raw stores no shape, so it needs fit crop")
        if self.filter not in FILTERS:
            raise InputError(f"filter must be one of {', '.join(FILTERS)}, got {self.filter!r}")
        if self.format not in IMAGE_EXTENSIONS:
            raise InputError(f"format must be one of {', '.join(IMAGE_EXTENSIONS)}, got {self.format!r}")
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality must be 1 to 100, got {self.quality}")
        if self.chroma not in ("420", "444"):
            raise InputError(f"chroma must be 420 or 444, got {self.chroma!r}")

    @property
    def image_ext(self) -> str:
        """Extension of the image members in the tar."""
        return IMAGE_EXTENSIONS[self.format]
