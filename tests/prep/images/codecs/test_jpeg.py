"""Laws of damaged and unusual JPEGs: kept when all pixels are there, and otherwise refused, or patched alike."""

import io
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from alexkit.errors import InputError
from alexkit.prep.images.codecs.jpeg import PATCHED, SECOND_DECODER
from alexkit.prep.images.codecs.jpeg_harmless import (
    ADOBE_TRANSFORM,
    ICC_MARKER,
    JFIF_REVISION,
    PADDING,
    SCAN_PARAMETERS,
)
from alexkit.prep.images.codecs.jpeg_header import read_jpeg_header
from alexkit.prep.images.codecs.messages import caught_messages
from alexkit.prep.images.decode import decode_image, decode_rgb
from alexkit.prep.images.limits import MAX_SCANS, DecodeOptions

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)).resize(
    (128, 96), Image.Resampling.BICUBIC
)


def jpeg(image: Image.Image = PHOTO, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


WHOLE = jpeg()


def with_segment(data: bytes, marker: int, content: bytes) -> bytes:
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + data[2:]


def with_revision(data: bytes, revision: bytes) -> bytes:
    at = data.index(b"JFIF\0") + 5
    return data[:at] + revision + data[at + 2 :]


def with_scan_parameters(data: bytes, parameters: bytes) -> bytes:
    scan = data.index(b"\xff\xda")
    end = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    return data[: end - 3] + parameters + data[end:]


def scan_data(data: bytes) -> int:
    scan = data.index(b"\xff\xda")
    return scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")


CMYK = jpeg(PHOTO.convert("CMYK"))
CMYK_ADOBE_7 = CMYK.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\x07")
HARMLESS = {
    "JFIF revision 0.0": (with_revision(WHOLE, b"\0\0"), JFIF_REVISION),
    "JFIF revision 2.1": (with_revision(WHOLE, b"\2\1"), JFIF_REVISION),
    "ICC marker": (with_segment(WHOLE, 0xE2, b"ICC_PROFILE\0\x05\x02" + bytes(50)), ICC_MARKER),
    "scan parameters": (with_scan_parameters(WHOLE, bytes(3)), SCAN_PARAMETERS),
    "zeros before the end": (WHOLE[:-2] + bytes(400) + WHOLE[-2:], PADDING),
    "other padding": (WHOLE[:-2] + b"\xaa" * 33 + WHOLE[-2:], PADDING),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_damage_that_leaves_all_pixels_is_kept_with_a_warning(kind: str) -> None:
    data, warning = HARMLESS[kind]
    decoded = decode_image(data, DecodeOptions())
    assert (decoded.image_HWC == decode_rgb(WHOLE)).all()
    assert decoded.warnings == (warning,) and decoded.decoded_rows == 1.0


def test_an_unknown_adobe_transform_is_kept_with_a_warning() -> None:
    assert decode_image(CMYK_ADOBE_7, DecodeOptions()).warnings == (ADOBE_TRANSFORM,)


@pytest.mark.parametrize("kind", HARMLESS)
def test_harmless_damage_hides_no_other(kind: str) -> None:
    data, _ = HARMLESS[kind]
    broken = bytearray(data)
    start = scan_data(data)
    broken[start + 100 : start + 102] = b"\xff\xd3"  # a restart marker where none belongs
    with pytest.raises(InputError, match="damaged JPEG"):
        decode_rgb(bytes(broken))
    if "end" not in kind and "padding" not in kind:
        with pytest.raises(InputError, match="damaged JPEG"):
            decode_rgb(data[:-200])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut", WHOLE[:-200]),
        ("cut, with an end marker", WHOLE[:-200] + WHOLE[-2:]),
        ("filled up with zeros", WHOLE[:-300] + bytes(298) + WHOLE[-2:]),
        ("other bytes before the end", WHOLE[:-2] + bytes(range(1, 100)) + WHOLE[-2:]),
        ("no end marker", WHOLE[:-2]),
    ],
)
def test_what_lacks_pixels_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(InputError, match="damaged JPEG"):
        decode_rgb(data)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_patched_image_says_how_many_rows_were_decoded(progressive: bool) -> None:
    data = jpeg(PHOTO.resize((256, 256)), progressive=progressive, quality=95)
    cut = data[: scan_data(data) + (len(data) - scan_data(data)) // 2]
    decoded = decode_image(cut, DecodeOptions(lenient=True))
    assert decoded.warnings == (PATCHED,)
    assert decoded.decoded_rows < 0.8
    if not progressive:
        assert decoded.decoded_rows > 0.2
        rows = int(decoded.decoded_rows * 256) - 16  # the last row of blocks blends into the missing one
        assert (decoded.image_HWC[:rows] == decode_rgb(data)[:rows]).all()


def test_a_patched_image_is_the_same_whatever_memory_held_before() -> None:
    """A decoder that gives up early leaves memory as it was: that is a refusal, never an image."""
    progressive = jpeg(PHOTO.resize((256, 256)), progressive=True)
    rng = np.random.default_rng(1)
    outcomes = set()
    for _ in range(60):
        broken = bytearray(progressive)
        for position in rng.integers(620, len(progressive) - 2, 5):
            broken[position] = rng.integers(256)
        results = []
        for fill in (10, 200):
            dirt = [np.full(256 * 256 * 3, fill, np.uint8) for _ in range(8)]
            del dirt  # the next image may be given this memory
            try:
                results.append(decode_image(bytes(broken), DecodeOptions(lenient=True)).image_HWC.tobytes())
            except InputError as error:
                results.append(str(error).encode())
        assert results[0] == results[1]
        outcomes.add(results[0][:12])
    assert any(outcome.startswith(b"damaged") for outcome in outcomes) and len(outcomes) > 5


@pytest.mark.parametrize("sampling", [(4, 2), (2, 4), (1, 3), (3, 1)])
def test_unusual_subsampling_is_decoded_by_pillow(sampling: tuple[int, int]) -> None:
    # A plane of 8 x 8 blocks of one color is the same at any sampling: only the header has to be changed.
    flat = jpeg(Image.new("L", (8, 8), 128))
    frame = flat.index(b"\xff\xc0")
    colored = unusual_jpeg(sampling)
    decoded = decode_image(colored, DecodeOptions())
    assert frame and decoded.warnings == (SECOND_DECODER,)
    with Image.open(io.BytesIO(colored)) as image:
        assert (decoded.image_HWC == np.asarray(image.convert("RGB"))).all()
    with pytest.raises(InputError, match="damaged JPEG"):
        decode_rgb(colored[:-40])


@pytest.mark.parametrize("lenient", [False, True])
def test_corrupt_data_in_unusual_subsampling_is_refused_although_pillow_does_not_tell(lenient: bool) -> None:
    sound = unusual_jpeg((1, 3))
    corrupt = sound[:-2] + bytes(range(1, 100)) + sound[-2:]
    with Image.open(io.BytesIO(corrupt)) as image:
        image.load()  # nothing is said
    with pytest.raises(InputError, match=r"^damaged JPEG: Corrupt JPEG data: \d+ extraneous bytes before marker"):
        decode_image(corrupt, DecodeOptions(lenient=lenient))
    padded = sound[:-2] + bytes(400) + sound[-2:]
    assert decode_image(padded, DecodeOptions()).warnings == (PADDING, SECOND_DECODER)


def test_what_a_library_writes_to_the_terminal_is_caught_also_by_several_threads(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def catch(text: str) -> str:
        with caught_messages() as messages:
            os.write(2, text.encode())
        return messages[0]

    texts = [f"text {i}" for i in range(200)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(catch, texts)) == texts
    assert capfd.readouterr().err == ""
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def unusual_jpeg(sampling: tuple[int, int]) -> bytes:
    """A JPEG whose luminance has these sampling factors: one group of blocks, so that its height and width are its."""
    across, down = sampling
    # 4:4:4 blocks come one of each component; with other factors, across * down of luminance, then one of each color.
    # A gray image's blocks are luminance alone, so scans of one component each can be put together.
    planes = [
        jpeg(Image.new("L", size, 90 + 40 * i)) for i, size in enumerate(((8 * across, 8 * down), (8, 8), (8, 8)))
    ]
    tables = planes[0][: planes[0].index(b"\xff\xc0")]
    frame = struct.pack(">BHHB", 8, 8 * down, 8 * across, 3)
    frame += bytes([1, across << 4 | down, 0, 2, 0x11, 0, 3, 0x11, 0])
    huffman = planes[0][planes[0].index(b"\xff\xc4") : planes[0].index(b"\xff\xda")]
    data = tables + b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + huffman
    for i, plane in enumerate(planes):
        data += b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, i + 1, 0, 0, 63, 0) + plane[scan_data(plane) : -2]
    return data + b"\xff\xd9"


def lossless_jpeg(values: list[int], bits: int) -> bytes:
    """One row of gray samples, each predicted from its left neighbor: a difference is its size, then so many bits."""
    table = bytes([0, 0, 0, 0, 9, *([0] * 12), *range(9)])  # nine codes of four bits
    frame = struct.pack(">BHHB", bits, 1, len(values), 1) + bytes([1, 0x11, 0])
    stream, before = "", 2 ** (bits - 1)
    for value in values:
        difference = value - before
        size = abs(difference).bit_length()
        stream += format(size, "04b")
        if size:
            stream += format(difference if difference > 0 else difference + 2**size - 1, f"0{size}b")
        before = value
    stream += "1" * (-len(stream) % 8)
    packed = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\0")
    return (
        b"\xff\xd8\xff\xc3" + struct.pack(">H", len(frame) + 2) + frame
        + b"\xff\xc4" + struct.pack(">H", len(table) + 2) + table
        + b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 0, 0) + packed + b"\xff\xd9"
    )  # fmt: skip


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
def test_samples_of_fewer_bits_are_spread_over_eight(bits: int) -> None:
    largest = 2**bits - 1
    values = [0, largest // 3, largest // 2, largest]
    image = decode_rgb(lossless_jpeg(values, bits))
    assert image[0, :, 0].tolist() == [round(value * 255 / largest) for value in values]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({4: 12}, "JPEG with 12 bits per sample is not read"),
        ({1: 0xC5}, "hierarchical JPEG is not read"),
        ({1: 0xF7}, "JPEG-LS is not read"),
    ],
)
def test_a_kind_that_is_not_read_is_named(change: dict[int, int], reason: str) -> None:
    data = bytearray(WHOLE)
    frame = WHOLE.index(b"\xff\xc0")
    for offset, value in change.items():
        data[frame + offset] = value
    with pytest.raises(InputError, match=reason):
        decode_rgb(bytes(data))


def test_more_scans_than_any_encoder_writes_are_refused() -> None:
    progressive = jpeg(progressive=True)
    last = progressive.rindex(b"\xff\xda")
    repeated = progressive[:last] + progressive[last:-2] * MAX_SCANS + progressive[-2:]
    with pytest.raises(InputError, match=rf"JPEG with \d+ scans, more than {MAX_SCANS}"):
        decode_rgb(repeated)


def test_what_follows_the_end_marker_is_no_scan_and_segments_hold_none() -> None:
    progressive = jpeg(progressive=True)
    scans = b"\xff\xda\x00\x08" * 4 * MAX_SCANS
    comment = b"\xff\xfe" + (2 + len(scans)).to_bytes(2, "big") + scans
    first = progressive.index(b"\xff\xda")
    expected = decode_rgb(progressive)
    for data in (progressive + scans, progressive[:first] + comment + progressive[first:]):
        assert (decode_rgb(data) == expected).all()


def test_memory_is_predicted_from_the_header() -> None:
    plain = read_jpeg_header(jpeg(subsampling=2))
    progressive = read_jpeg_header(jpeg(subsampling=2, progressive=True))
    full = read_jpeg_header(jpeg(subsampling=0, progressive=True))
    cmyk = read_jpeg_header(CMYK)
    assert [header.bytes_per_pixel for header in (plain, progressive, full, cmyk)] == [9, 9, 9, 10]


@pytest.mark.parametrize("side", [511, 512, 1023, 1024, 2047, 2048, 3000])
def test_scaled_decoding_never_goes_below_twice_the_target(side: int) -> None:
    data = jpeg(PHOTO.resize((side + 77, side)))
    decoded = decode_image(data, DecodeOptions(decode="scaled", size_px=128))
    expected = 8 if side >= 2048 else 4 if side >= 1024 else 2 if side >= 512 else 1
    assert decoded.reduction == expected and decoded.size_hw == (side, side + 77)
    assert decoded.image_HWC.shape[:2] == (-(-side // expected), -(-(side + 77) // expected))


def test_importing_a_loader_leaves_opencv_as_it_was() -> None:
    script = "import alexkit.pipeline.loader, sys; assert not {'cv2', 'cykooz_resizer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
    script = (
        "import cv2; before = cv2.getNumThreads()\n"
        "import alexkit.pipeline.loader, alexkit.prep.images.resize\n"
        "assert cv2.getNumThreads() == before\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
