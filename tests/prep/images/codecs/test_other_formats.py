"""Laws of the formats that are no JPEG: what shapes no pixel is ignored, what does is checked, each has its name."""

import errno
import io
import os
import struct
import subprocess
import sys
import zlib
from typing import NoReturn

import numpy as np
import PIL
import pytest
from PIL import Image

from alexkit.errors import InputError
from alexkit.prep.images.codecs import messages
from alexkit.prep.images.codecs.png import ANCILLARY_CHECKSUM, NO_END, TOO_MUCH_DATA
from alexkit.prep.images.decode import decode_image, decode_rgb
from alexkit.prep.images.limits import DecodeOptions

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


PNG = encoded(Image.fromarray(PIXELS), "PNG")


def chunk(kind: bytes, content: bytes, *, checksum: int | None = None) -> bytes:
    right = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", right if checksum is None else checksum)


def with_chunk(extra: bytes) -> bytes:
    """The PNG with something behind its header."""
    return PNG[:33] + extra + PNG[33:]


def raw_png(rows: bytes, *, width: int, height: int, depth: int, color: int, pixels: bytes | None = None) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = zlib.compress(rows) if pixels is None else pixels
    return PNG[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("extra", "warnings"),
    [
        (chunk(b"tEXt", b"Comment\0hello", checksum=7), (ANCILLARY_CHECKSUM,)),
        (chunk(b"iTXt", b"Comment\0\0\0\0\0" + b"x" * 20_000_000), ()),
        (chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000))), ()),
        (chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(64_000_000))), ()),
        (chunk(b"acTL", b"?"), ()),
        (chunk(b"fcTL", b"??"), ()),
        (chunk(b"eXIf", b"garbage!"), ()),
        (chunk(b"eXIf", b"II*\0\x08\0\0\0\x05\0\x12\x01"), ()),
        (chunk(b"pHYs", b""), ()),
    ],
)
def test_png_chunks_that_shape_no_pixel_are_ignored(extra: bytes, warnings: tuple[str, ...]) -> None:
    decoded = decode_image(with_chunk(extra), DecodeOptions())
    assert (decoded.image_HWC == PIXELS).all()
    assert decoded.warnings == warnings


def test_a_png_without_its_end_is_whole_and_kept_with_a_warning() -> None:
    decoded = decode_image(PNG[:-12], DecodeOptions())
    assert (decoded.image_HWC == PIXELS).all() and decoded.warnings == (NO_END,)


def test_png_data_beyond_the_last_row_is_kept_with_a_warning_whatever_it_unpacks_to() -> None:
    rows = bytes(11 * 8) + bytes(50_000_000)
    decoded = decode_image(raw_png(rows, width=10, height=8, depth=8, color=0), DecodeOptions())
    assert decoded.image_HWC.shape == (8, 10, 3) and decoded.warnings == (TOO_MUCH_DATA,)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], "checksum of its IDAT chunk is wrong"),
        (PNG[:30] + bytes([PNG[30] ^ 1]) + PNG[31:], "checksum of its IHDR chunk is wrong"),
        (with_chunk(chunk(b"tRNS", bytes(6), checksum=1)), "checksum of its tRNS chunk is wrong"),
        (
            raw_png(b"", width=10, height=8, depth=8, color=0, pixels=zlib.compress(bytes(88))[:-1] + b"?"),
            "damaged PNG: .*incorrect data check",
        ),
        (
            raw_png(b"", width=10, height=8, depth=8, color=0, pixels=zlib.compress(bytes(88))[:-4]),
            "pixels end before their checksum",
        ),
        (raw_png(bytes(80), width=10, height=8, depth=8, color=0), "80 bytes of pixels, expected 88"),
        (with_chunk(chunk(b"CgBI", b"")), "PNG with a CgBI chunk is not read"),
    ],
)
def test_a_png_whose_pixels_are_not_whole_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        decode_rgb(data)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_png_of_every_kind_has_the_pixels_of_pillow(mode: str, side: int) -> None:
    if mode == "I;16":
        image = Image.fromarray((np.arange(side * 7, dtype=np.uint16) * 997).reshape(7, side))
    else:
        image = Image.fromarray(PIXELS[:7, :side]).convert(mode)
    data = encoded(image, "PNG")
    expected = (
        (np.asarray(image) >> 8).astype(np.uint8)[..., None] if mode == "I;16" else np.asarray(image.convert("RGB"))
    )
    assert (decode_rgb(data) == expected).all()


def test_an_interlaced_png_is_measured_by_its_passes() -> None:
    # Pillow writes none: seven passes of a gray image of 5 x 3, each row behind its filter's byte.
    gray = np.arange(15, dtype=np.uint8).reshape(3, 5) * 16
    passes = [(0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)]
    rows = b""
    for left, across, top, down in passes:
        for row in gray[top::down, left::across]:
            rows += b"\0" + row.tobytes() if len(row) else b""
    header = struct.pack(">IIBBBBB", 5, 3, 8, 0, 0, 0, 1)
    data = PNG[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert (decode_rgb(data) == gray[..., None]).all()


@pytest.mark.parametrize(("color", "depth"), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)])
def test_the_transparent_color_of_a_png_is_white_and_only_that(color: int, depth: int) -> None:
    """Of 16 bits both bytes count; of fewer than 16 the chunk's higher bits do not."""
    channels = 3 if color == 2 else 1
    largest = 2**depth - 1
    clear = [largest // 3, largest // 5, largest // 7][:channels]
    pixels = np.full((2, 8, channels), largest // 2)
    pixels[0, :3], pixels[1, 7] = clear, clear
    pixels[1, 0] = [clear[0] + 1, *clear[1:]]  # of 16 bits the high byte is that of the transparent color
    if depth < 8:
        bits = np.unpackbits(pixels.astype(np.uint8), axis=2)[..., -depth:].reshape(2, -1)
        rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    else:
        rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in pixels)
    chunk_bits = 2**depth if depth < 16 else 0
    transparent = chunk(b"tRNS", struct.pack(f">{channels}H", *(value | chunk_bits for value in clear)))
    plain = raw_png(rows, width=8, height=2, depth=depth, color=color)
    decoded = decode_image(plain[:33] + transparent + plain[33:], DecodeOptions())
    expected = (pixels >> 8 if depth == 16 else pixels * 255 // largest) * np.ones(3, int)
    expected[(pixels == clear).all(axis=2)] = 255
    assert decoded.has_alpha and (decoded.image_HWC == expected).all()
    assert (pixels == clear).all(axis=2).sum() >= 4


@pytest.mark.parametrize(("color", "num_bytes"), [(0, 1), (0, 6), (2, 2)])
def test_a_transparent_color_of_another_kind_of_png_is_refused(color: int, num_bytes: int) -> None:
    plain = raw_png(bytes(8 * 31), width=10, height=8, depth=8, color=color)
    with pytest.raises(InputError, match=f"its tRNS chunk has {num_bytes} bytes"):
        decode_rgb(plain[:33] + chunk(b"tRNS", bytes(num_bytes)) + plain[33:])


@pytest.mark.parametrize("exif", [b"garbage!", b"II*\0\x08\0\0\0\x05\0\x12\x01", b"MM\0*" + b"\xff" * 30])
def test_a_damaged_exif_block_of_a_webp_is_ignored(exif: bytes) -> None:
    image = Image.fromarray(PIXELS)
    data = encoded(image, "WEBP", lossless=True, exif=b"Exif\0\0" + exif)
    assert (decode_rgb(data) == PIXELS).all()


def test_an_avif_with_a_changed_byte_is_damaged() -> None:
    file = bytearray(encoded(Image.fromarray(PIXELS), "AVIF"))
    file[file.index(b"mdat") + 8] ^= 16  # among the coded pixels, which are not looked at before they are decoded
    with pytest.raises(InputError, match=r"damaged AVIF: .*decod"):
        decode_rgb(bytes(file))


def test_a_disk_without_room_is_no_damage_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(messages.tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space left"):
        decode_rgb(encoded(Image.fromarray(PIXELS), "TIFF"))


@pytest.mark.parametrize(
    "exif",
    [
        b"garbage! and more of it",  # what libavif refuses
        b"II*\0\x08\0\0\0\x05\0\x12\x01",  # what Pillow refuses
        b"MM\0*" + b"\xff" * 30,
        b"",
    ],
)
@pytest.mark.parametrize("turn", [1, 6])
def test_a_damaged_exif_block_of_an_avif_is_ignored_and_the_image_turned_as_its_properties_say(
    exif: bytes, turn: int
) -> None:
    good = Image.Exif()
    good[0x112], good[0x10E] = turn, "a description that leaves room for damage"
    file = encoded(Image.fromarray(PIXELS), "AVIF", quality=100, subsampling="4:4:4", exif=good)
    block = file.index(b"a description") + len("a description that leaves room for damage") + 1
    block = max(file.rfind(b"II*\0", 0, block), file.rfind(b"MM\0*", 0, block))
    damaged = file[:block] + exif + file[block + len(exif) :] if exif else file[:block] + bytes(8) + file[block + 8 :]
    assert (decode_rgb(damaged) == decode_rgb(file)).all()
    assert decode_rgb(damaged).shape == (np.rot90(PIXELS) if turn == 6 else PIXELS).shape


def raw_tiff(
    pixels: bytes, *, bits: int, photometric: int, extra_samples: int | None = None, samples: int = 1
) -> bytes:
    """An uncompressed TIFF of 8 x 8 pixels."""
    entries = [(256, 8), (257, 8), (258, bits), (259, 1), (262, photometric), (273, None), (277, samples), (278, 8)]
    entries += [(279, len(pixels))] + ([] if extra_samples is None else [(338, extra_samples)])
    end = 8 + 2 + 12 * len(entries) + 4
    data = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, value in entries:
        if tag == 258:
            data += struct.pack("<HHI", tag, 3, samples)
            data += struct.pack("<I", end) if samples > 2 else struct.pack("<HH", bits, bits * (samples - 1))
        else:
            kind = 4 if tag in (273, 279) else 3
            data += struct.pack("<HHII", tag, kind, 1, end + 2 * samples if value is None else value)
    return data + bytes(4) + struct.pack(f"<{samples}H", *[bits] * samples) + pixels


@pytest.mark.parametrize(("extra_samples", "color"), [(0, (100, 50, 0)), (1, (226, 176, 127)), (2, (177, 152, 127))])
@pytest.mark.parametrize("is_gray", [False, True])
def test_transparency_of_a_tiff_is_laid_over_white(
    extra_samples: int, color: tuple[int, int, int], is_gray: bool
) -> None:
    """0: not alpha; 1: alpha that the colors are multiplied by; 2: plain alpha."""
    pixels = bytes([100, 128] if is_gray else [100, 50, 0, 128]) * 64
    samples = 2 if is_gray else 4
    if is_gray and extra_samples < 2 and int(PIL.__version__.split(".")[0]) < 13:
        pytest.skip("Pillow before 13 does not read gray with alpha of this kind: such files are refused by name")
    data = raw_tiff(pixels, bits=8, photometric=1 if is_gray else 2, extra_samples=extra_samples, samples=samples)
    assert np.abs(decode_rgb(data)[4, 4].astype(int) - (color[:1] if is_gray else color)).max() <= 1


def test_twelve_bits_of_a_tiff_keep_their_high_byte() -> None:
    values = np.arange(0, 4096, 64, dtype=np.uint16)  # 8 x 8, packed as 12 bits each
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in values.reshape(-1, 2).tolist())
    assert (decode_rgb(raw_tiff(packed, bits=12, photometric=1))[..., 0] == (values >> 4).reshape(8, 8)).all()


def test_a_raw_photograph_is_refused_not_stored_as_its_preview() -> None:
    preview = encoded(Image.fromarray(PIXELS), "TIFF", tiffinfo={254: 1})
    canon = encoded(Image.fromarray(PIXELS[..., 0]), "TIFF")
    canon = canon[:4] + struct.pack("<I", 16) + b"CR\2\0" + bytes(4) + canon[8:]  # its directory is moved by 8 bytes
    for data in (preview, canon):
        with pytest.raises(InputError, match="raw photographs"):
            decode_rgb(data)
    assert decode_rgb(encoded(Image.fromarray(PIXELS), "TIFF", tiffinfo={254: 0})).tolist() == PIXELS.tolist()
    assert decode_rgb(encoded(Image.fromarray(PIXELS), "TIFF", tiffinfo={254: 2})).tolist() == PIXELS.tolist()  # a page


def test_a_tiff_whose_first_pixels_spell_canons_mark_is_no_raw_photograph() -> None:
    """libtiff writes uncompressed pixels from byte 8 on, and the directory after them."""
    gray = np.frombuffer(b"CR\2\0" * 16, np.uint8).reshape(8, 8)
    data = raw_tiff(gray.tobytes(), bits=8, photometric=1)
    begin = data.rindex(gray.tobytes())
    directory = data[8:begin].replace(struct.pack("<I", begin), struct.pack("<I", 8))
    data = data[:4] + struct.pack("<I", 8 + gray.size) + gray.tobytes() + directory
    assert (decode_rgb(data) == gray[..., None]).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_zero_of_a_tiff_is_black_or_white_as_it_says(bits: int) -> None:
    values = np.arange(64, dtype="<u2") * 1000
    pixels = values.tobytes() if bits == 16 else (values >> 8).astype(np.uint8).tobytes()
    black, white = (decode_rgb(raw_tiff(pixels, bits=bits, photometric=photometric)) for photometric in (1, 0))
    assert (black[..., 0] == (values >> 8).reshape(8, 8)).all() and (white == 255 - black).all()


@pytest.mark.parametrize("brand", [b"mif1", b"msf1", b"miaf"])
def test_an_avif_is_known_by_the_brands_it_is_compatible_with(brand: bytes) -> None:
    data = encoded(Image.fromarray(PIXELS), "AVIF")
    assert data[8:12] == b"avif" and b"avif" in data[16:32]
    assert (decode_rgb(data[:8] + brand + data[12:]) == decode_rgb(data)).all()
    with pytest.raises(InputError, match="HEIC is not read"):
        decode_rgb(data[:8] + brand + data[12:].replace(b"avif", b"heic", 1))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_tiff_is_turned_once(orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    image = Image.fromarray(PIXELS)
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    assert (decode_rgb(encoded(image, "TIFF", exif=tags)) == np.rot90(PIXELS, turns)).all()


@pytest.mark.parametrize(
    ("format_", "options", "tolerance"),
    [
        ("PPM", {}, 0),
        ("AVIF", {"quality": 95, "subsampling": "4:4:4"}, 12),
        ("JPEG2000", {}, 0),
        ("JPEG2000", {"no_jp2": True}, 0),
    ],
)
def test_the_newer_and_the_older_formats_are_read(format_: str, options: dict[str, object], tolerance: int) -> None:
    image = Image.fromarray(PIXELS).resize((64, 48), Image.Resampling.BICUBIC)
    decoded = decode_rgb(encoded(image, format_, **options))
    assert np.abs(decoded.astype(int) - np.asarray(image)).max() <= tolerance


def test_a_gray_pgm_of_sixteen_bits_keeps_its_high_byte() -> None:
    values = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    data = b"P5 30 20 65535\n" + values.astype(">u2").tobytes()
    assert (decode_rgb(data)[..., 0] == values >> 8).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC is not read; convert it"),
        (b"\xff\x0a" + bytes(40), "JPEG XL is not read"),
        (b"%PDF-1.7" + bytes(40), "PDF is not read"),
        (b"8BPS" + bytes(40), "Photoshop is not read"),
        (b"Pf 1 1 -1\n" + bytes(4), "floating-point PNM is not read"),
        (b"BM" + bytes(40), "damaged BMP"),
        (b"GIF89a" + bytes(4), "damaged GIF"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(40), "damaged WebP"),
        (b"II*\0\x08\0\0\0\0\0", "damaged TIFF"),
        (b"P6 30 20 255\n" + bytes(10), "damaged PNM"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "damaged JPEG 2000"),
        (b"\0\0\0\x18ftypavif" + bytes(40), "damaged AVIF"),
    ],
)
def test_a_known_format_is_refused_by_its_name(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        decode_rgb(data)


def test_a_tiff_of_a_layout_that_is_not_read_names_its_bits() -> None:
    entries = [
        (256, 4, 8),
        (257, 4, 8),
        (258, 3, 24),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 130),
        (277, 3, 1),
        (278, 4, 8),
    ]
    entries += [(279, 4, 192)]
    data = b"II*\0" + struct.pack("<IH", 8, len(entries))
    data += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries) + bytes(400)
    with pytest.raises(InputError, match="TIFF with 24 bits per sample"):
        decode_rgb(data)


def test_libtiff_writes_nothing_to_the_terminal() -> None:
    whole = encoded(Image.fromarray(PIXELS), "TIFF", compression="tiff_lzw")
    script = (
        "import sys; from alexkit.prep.images import decode_rgb\n"
        "data = bytearray(sys.stdin.buffer.read())\n"
        "for i in range(8, 400, 3):\n"
        "    broken = data[:]; broken[i] ^= 255\n"
        "    try: decode_rgb(bytes(broken))\n"
        "    except ValueError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=whole, capture_output=True, env=dict(os.environ))
    assert done.returncode == 0 and done.stderr == b"" and done.stdout == b""


def test_more_pixels_than_allowed_are_refused_and_fewer_are_not() -> None:
    with pytest.raises(InputError, match="promises 30 x 20 pixels, more than the 599 of --max-pixels"):
        decode_image(PNG, DecodeOptions(max_pixels=599))
    assert decode_image(PNG, DecodeOptions(max_pixels=600)).image_HWC.shape == (20, 30, 3)
