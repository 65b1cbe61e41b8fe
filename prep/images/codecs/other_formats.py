"""Decodes every format but JPEG, with Pillow.

Formats are recognized by their first bytes, so that errors name the format of damaged files and of unsupported ones.
Transparent images are composited over white; samples of more than 8 bits keep their high byte; of an animation, the
first frame is used.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ....errors import InputError
from ..decoded import Decoded
from ..limits import ALPHA_BYTES_PER_PIXEL, BYTES_PER_PIXEL, DecodeOptions
from .avif import without_exif
from .exif import BITS_PER_SAMPLE_TAG, PHOTOMETRIC_TAG, exif_orientation, first_number
from .jpeg import upright
from .messages import caught_messages
from .png import SIGNATURE, PlainPng, plain_png, png_has_alpha, png_size, transparent_pixels

_READERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "PNM": PpmImagePlugin.PpmImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
}
_FIRST_BYTES = {
    SIGNATURE: "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"II+\0": "BigTIFF",
    b"MM\0+": "BigTIFF",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"\0\0\1\0": "ICO",
    b"v/1\1": "OpenEXR",
    b"DDS ": "DDS",
    b"Pf": "floating-point PNM",
    b"PF": "floating-point PNM",
    b"P7": "PAM",
}
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_MAX_BRANDS_BYTES = 256
_WHITE_IS_ZERO = 0  # a TIFF's photometric interpretation
_SUBFILE_TYPE_TAG, _REDUCED = 254, 1  # a TIFF's image is a smaller version of another one in the file
_CR2 = struct.pack("<I", 16) + b"CR"  # bytes 4 to 9: the directory follows the mark, where other TIFFs have pixels
# What Pillow raises for damaged data; RuntimeError is that of its AVIF decoder. MemoryError is not among them, nor is
# the system's own OSError, which has a number: they are the caller's.
_PILLOW_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
    Warning,
    KeyError,
    IndexError,
    RuntimeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    TypeError,
    AttributeError,
    EOFError,
)


def kind_of(data: bytes) -> str | None:
    """The format's name, also for some formats that are not read; None if unknown."""
    for first, kind in _FIRST_BYTES.items():
        if data.startswith(first):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return _kind_by_brands(data)
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "PNM"
    return None


def _kind_by_brands(data: bytes) -> str | None:
    """The format by its major and compatible brands: the container, `mif1`, is used for AVIF as well as HEIC."""
    box = data[8 : min(int.from_bytes(data[:4], "big"), _MAX_BRANDS_BYTES)]
    brands = [box[:4], *(box[begin : begin + 4] for begin in range(8, len(box), 4))]  # with a version in between
    for kind, known in (("AVIF", _AVIF_BRANDS), ("HEIC", _HEIC_BRANDS)):
        if any(brand in known for brand in brands):
            return kind
    return None


def decode_other(data: bytes, options: DecodeOptions) -> Decoded:
    """Decode an image that is not a JPEG; raises InputError with a one-line reason."""
    kind = kind_of(data)
    if kind is None:
        raise InputError(f"not an image of a known format (it starts with {data[:8]!r})")
    if kind not in _READERS:
        raise InputError(f"{kind} is not read; convert it")
    png: PlainPng | None = None
    orientation = 1
    if kind == "PNG":
        _check(options, *png_size(data), kind, has_alpha=png_has_alpha(data))
        png = plain_png(data)
        data, orientation = png.data, png.orientation
    if kind == "WebP":
        _check(options, *_webp_size(data), kind, has_alpha=False)  # Pillow allocates the memory when it opens the file
    with warnings.catch_warnings():
        # If Pillow only warns, it has patched the image; the size is checked here.
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        if kind == "TIFF":
            warnings.simplefilter("ignore", UserWarning)  # all about tags that shape no pixel
        try:
            # libtiff writes to stderr.
            with caught_messages() if kind == "TIFF" else nullcontext(), _opened(kind, data) as image:
                if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_preview(image, data):
                    raise InputError("TIFF that starts with a preview, as raw photographs of cameras do; convert it")
                _check(options, *image.size, kind, has_alpha=image.has_transparency_data)
                image.load()
                if kind != "TIFF":  # a TIFF's own orientation is applied by `load`
                    orientation = max(orientation, _orientation(image))
                has_alpha = image.has_transparency_data
                image_HWC = _rgb(image, data)
        except InputError:
            raise
        except _PILLOW_ERRORS as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # no space for libtiff's messages, or no descriptor left
            raise InputError(_reason(kind, data, error)) from None
    if png is not None and png.transparent is not None:
        # Pillow applies it only to 8-bit images correctly; for others it compares the color on another scale.
        image_HWC[transparent_pixels(png, image_HWC)] = 255
        has_alpha = True
    image_HWC = upright(image_HWC, orientation)
    return Decoded(
        image_HWC=image_HWC,
        size_hw=image_HWC.shape[:2],
        orientation=orientation,
        has_alpha=has_alpha,
        warnings=png.warnings if png is not None else (),
    )


def rgb_of_pillow(image: Image.Image) -> NDArray[np.uint8]:
    """A Pillow image as its file would be decoded: upright RGB, composited over white, the high byte of 16 bits.

    Raises InputError for floating-point pixels, and for a TIFF with more than 8 bits, whose scale only the file tells.
    """
    image.load()
    is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
    if is_tiff and image.mode.startswith("I"):
        raise InputError("a TIFF with more than 8 bits per sample, opened with Pillow; pass its path or bytes instead")
    return upright(_rgb(image, b""), 1 if is_tiff else _orientation(image))


def _opened(kind: str, data: bytes) -> ImageFile.ImageFile:
    """Open the file with Pillow."""
    try:
        return _READERS[kind](io.BytesIO(data))
    except _PILLOW_ERRORS:
        plain = without_exif(data) if kind == "AVIF" else data
        if plain == data:
            raise
        return _READERS[kind](io.BytesIO(plain))


def _is_preview(image: TiffImagePlugin.TiffImageFile, data: bytes) -> bool:
    """Whether the first image is not the photograph itself: in DNG, NEF and ARW by its tag, in CR2 always."""
    subfile_type = image.tag_v2.get(_SUBFILE_TYPE_TAG)
    return data[4:10] == _CR2 or (isinstance(subfile_type, int) and bool(subfile_type & _REDUCED))


def _check(options: DecodeOptions, width: int, height: int, kind: str, *, has_alpha: bool) -> None:
    options.check(width, height, BYTES_PER_PIXEL[kind] + has_alpha * ALPHA_BYTES_PER_PIXEL, kind)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels that the header promises, unchecked."""
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _orientation(image: Image.Image) -> int:
    block = image.info.get("exif")
    return exif_orientation(block) if isinstance(block, bytes) else 1


def _reason(kind: str, data: bytes, error: Exception) -> str:
    if kind == "TIFF":
        bits = first_number(data, BITS_PER_SAMPLE_TAG)
        if "pixel mode" in str(error) and bits is not None:
            return f"TIFF with {bits} bits per sample, or this layout of samples, is not read; convert it"
    return f"damaged {kind}: {' '.join(str(error).split()) or type(error).__name__}"


def _rgb(image: Image.Image, data: bytes) -> NDArray[np.uint8]:
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        values = np.asarray(image)
        if int(values.min()) < 0 or int(values.max()) > 65535:
            raise InputError("integer pixels outside 0-65535")
        # A TIFF's 12-bit samples come unscaled, all others scaled to 16 bits.
        is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
        bits = first_number(data, BITS_PER_SAMPLE_TAG) if is_tiff else 16
        gray = (values >> (4 if bits == 12 else 8)).astype(np.uint8)
        if is_tiff and first_number(data, PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
            if bits != 16:
                raise InputError(f"TIFF with {bits} bits per sample in which 0 is white is not read; convert it")
            gray = 255 - gray  # the high byte of 65535 - value; Pillow does it for 8 bits and fewer
        return np.repeat(gray[..., None], 3, axis=2)
    if image.mode == "F":
        raise InputError("floating-point pixels have no defined range")
    if image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")  # Pillow's only conversion from premultiplied gray
        image = image.convert("RGBA")
        return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
