"""Laws of decoding: every kind of image a real collection holds, and one line for what is not an image."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms

from alexkit.prep.images.codecs.jpeg_header import read_jpeg_header
from alexkit.prep.images.decode import decode_rgb
from alexkit.prep.images.limits import BYTES_PER_PIXEL, MEMORY_BYTES

GRADIENT = np.stack(
    [
        np.tile(np.arange(0, 192, 4, np.uint8), (40, 1)),
        np.tile(np.arange(40, 240, 5, np.uint8)[:, None], (1, 48)),
        np.full((40, 48), 90, np.uint8),
    ],
    axis=2,
)


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def rgb() -> Image.Image:
    return Image.fromarray(GRADIENT)


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def with_adobe_marker(jpeg: bytes, transform: int) -> bytes:
    segment = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform)
    return jpeg[:2] + b"\xff\xee" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def without_adobe_marker(jpeg: bytes) -> bytes:
    start = jpeg.index(b"\xff\xee")
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]


def cmyk() -> Image.Image:
    """CMYK whose color, by the documented rule, is the gradient: no black, ink the opposite of light."""
    inks = np.concatenate([255 - GRADIENT, np.zeros((40, 48, 1), np.uint8)], axis=2)
    return Image.fromarray(inks, "CMYK")


@pytest.mark.parametrize(
    ("name", "make", "tolerance"),
    [
        ("JPEG 4:4:4", lambda: encoded(rgb(), "JPEG", quality=95, subsampling=0), 6),
        ("JPEG 4:2:0", lambda: encoded(rgb(), "JPEG", quality=95, subsampling=2), 10),
        ("JPEG progressive", lambda: encoded(rgb(), "JPEG", quality=95, progressive=True, subsampling=0), 6),
        ("JPEG restarts", lambda: encoded(rgb(), "JPEG", quality=95, subsampling=0, restart_marker_rows=1), 6),
        ("JPEG RGB", lambda: encoded(rgb(), "JPEG", quality=95, keep_rgb=True), 6),
        ("JPEG CMYK, Adobe", lambda: encoded(cmyk(), "JPEG", quality=95), 6),
        ("PNG", lambda: encoded(rgb(), "PNG"), 0),
        ("PNG palette", lambda: encoded(rgb().quantize(256), "PNG"), 20),
        ("PNG opaque alpha", lambda: encoded(rgb().convert("RGBA"), "PNG"), 0),
        ("WebP", lambda: encoded(rgb(), "WEBP", lossless=True), 0),
        ("BMP", lambda: encoded(rgb(), "BMP"), 0),
        ("GIF", lambda: encoded(rgb().quantize(256), "GIF"), 20),
        ("TIFF", lambda: encoded(rgb(), "TIFF"), 0),
        ("TIFF LZW", lambda: encoded(rgb(), "TIFF", compression="tiff_lzw"), 0),
    ],
)  # fmt: skip
def test_every_color_format_gives_the_same_rgb(name: str, make: Callable[[], bytes], tolerance: int) -> None:
    image = decode_rgb(make())
    assert image.dtype == np.uint8 and image.shape == (40, 48, 3) and image.flags.c_contiguous
    assert np.abs(image.astype(int) - GRADIENT).max() <= tolerance


def test_cmyk_without_an_adobe_marker_is_not_inverted() -> None:
    stored = encoded(cmyk(), "JPEG", quality=95)  # Pillow writes the marker and inverts
    inverted_twice = Image.fromarray(255 - np.asarray(cmyk()), "CMYK")
    plain = without_adobe_marker(encoded(inverted_twice, "JPEG", quality=95))
    assert np.abs(decode_rgb(plain).astype(int) - decode_rgb(stored)).max() <= 1


def test_ycck_is_converted_before_the_black() -> None:
    y, cb, cr, k = 100, 90, 160, 204
    components = Image.fromarray(np.full((32, 32, 4), [255 - y, 255 - cb, 255 - cr, 255 - k], np.uint8), "CMYK")
    as_cmyk = without_adobe_marker(encoded(components, "JPEG", quality=100))  # Pillow stores the inks inverted
    rgb_of_ycc = np.array([y + 1.402 * (cr - 128), y - 0.344 * (cb - 128) - 0.714 * (cr - 128), y + 1.772 * (cb - 128)])
    expected = (255 - rgb_of_ycc) * k / 255
    assert np.abs(decode_rgb(with_adobe_marker(as_cmyk, transform=2))[16, 16] - expected).max() <= 4


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_is_three_equal_planes(mode: str) -> None:
    gray = rgb().convert(mode)
    for data in (encoded(gray, "PNG"), encoded(gray.convert("L"), "JPEG", quality=100)):
        image = decode_rgb(data)
        assert (image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all()


def test_sixteen_bits_keep_their_high_byte() -> None:
    values = (np.arange(40 * 48, dtype=np.uint16) * 34).reshape(40, 48)
    image = decode_rgb(encoded(Image.fromarray(values), "PNG"))
    assert (image[..., 0] == values >> 8).all()


def test_alpha_is_laid_over_white() -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 255, 0))
    assert (decode_rgb(encoded(image, "PNG")) == 255).all()
    image.putalpha(128)
    assert tuple(decode_rgb(encoded(image, "PNG"))[0, 0]) == (127, 127, 255)


def test_palette_transparency_is_laid_over_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert (decode_rgb(encoded(image, "PNG", transparency=1)) == 255).all()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_color_profile_changes_nothing(format_: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    plain, with_profile = encoded(rgb(), format_), encoded(rgb(), format_, icc_profile=profile)
    assert len(with_profile) > len(plain) + 200  # a PNG packs it
    assert (decode_rgb(with_profile) == decode_rgb(plain)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, format_: str) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = [255, 0, 0]
    upright[:16, 24:] = [0, 255, 0]
    upright[16:, :24] = [0, 0, 255]
    # What a camera stores so that a viewer, following the tag, shows `upright`.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    lossless = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format_, {})
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), format_, exif=exif(orientation), **lossless)
    image = decode_rgb(data)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).max() <= 8


@pytest.mark.parametrize("block", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"garbage" * 9])
def test_a_damaged_exif_block_is_ignored(block: bytes) -> None:
    jpeg = encoded(rgb(), "JPEG")
    segment = b"Exif\0\0" + block
    data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    assert decode_rgb(data).shape == (40, 48, 3)


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert tuple(decode_rgb(data)[0, 0]) == (255, 0, 0)


def png_that_promises(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\x00IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def jpeg_that_promises(width: int, height: int) -> bytes:
    jpeg = bytearray(encoded(rgb(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(jpeg)


GOOD = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), "JPEG", quality=90)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty", b"", "empty file"),
        ("text", b"<html>404 not found</html>", "not an image of a known format"),
        ("zip", b"PK\x03\x04" + bytes(100), "not an image of a known format"),
        ("JPEG magic only", b"\xff\xd8\xff", "ends inside its header"),
        ("JPEG cut in its header", GOOD[:100], "ends inside its header"),
        ("JPEG cut in its data", GOOD[: len(GOOD) // 2], "end of"),
        ("JPEG without its last two bytes", GOOD[:-2], "end of"),
        ("JPEG of no pixels", jpeg_that_promises(0, 40), "promises 0 x 40 pixels"),
        ("JPEG bomb", jpeg_that_promises(65000, 65000), "more than the 119304647 that 1 GiB of memory allows"),
        ("PNG bomb", png_that_promises(100_000, 100_000), "promises 100000 x 100000 pixels"),
        ("large PNG", png_that_promises(10_000, 10_000), f"more than the {MEMORY_BYTES // BYTES_PER_PIXEL['PNG']}"),
        ("PNG without data", png_that_promises(10, 10), "damaged PNG"),
        ("PNG cut", encoded(rgb(), "PNG")[:-40], "damaged PNG"),
        ("GIF cut", encoded(rgb().quantize(64), "GIF")[:300], "damaged GIF"),
        ("WebP cut", encoded(rgb(), "WEBP")[:60], "damaged WebP"),
        ("floating point", encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "floating-point"),
    ],
)
def test_what_is_no_whole_image_is_refused_with_one_line(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        decode_rgb(data)
    assert "\n" not in str(caught.value)


def test_a_damaged_jpeg_is_refused_unless_lenient() -> None:
    damaged = bytearray(GOOD)
    scan = GOOD.index(b"\xff\xda") + 14
    damaged[scan + 400 : scan + 440] = bytes(40)
    with pytest.raises(ValueError):
        decode_rgb(bytes(damaged))
    assert decode_rgb(bytes(damaged), lenient=True).shape == (64, 64, 3)


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_gives_pixels_or_one_line_never_anything_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = (
        GOOD,
        encoded(rgb(), "PNG"),
        encoded(rgb(), "WEBP"),
        encoded(rgb(), "TIFF"),
        encoded(rgb().quantize(9), "GIF"),
    )
    for good in kinds:
        data = bytearray(good)
        for position in rng.integers(0, len(data), 8):
            data[position] = rng.integers(256)
        try:
            image = decode_rgb(bytes(data[: rng.integers(1, len(data) + 1)]))
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


def test_the_header_is_read_without_decoding() -> None:
    header = read_jpeg_header(encoded(rgb(), "JPEG", exif=exif(6)))
    assert (header.width, header.height, header.num_components, header.orientation) == (48, 40, 3, 6)
    assert not header.has_adobe_marker
