"""Laws of the stored image: its place in the source, its encoding, and its way back."""

import io
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from PIL import Image

from alexkit.errors import InputError
from alexkit.prep import PixelOptions
from alexkit.prep.format.pixel_options import FILTERS, Filter
from alexkit.prep.images import prepare
from alexkit.prep.images.fit import fit_image
from alexkit.prep.images.prepare import encode_image, prepare_image
from alexkit.prep.images.stored import decode_stored

PHOTO = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)).resize(
        (400, 300), Image.Resampling.BICUBIC
    )
)


@pytest.mark.parametrize("filter_", FILTERS)
@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (256, 256), (257, 256), (100, 90), (1, 500), (7, 7)])
def test_every_shape_becomes_the_square(shape: tuple[int, int], filter_: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    square = fit_image(image, PixelOptions(filter=filter_))
    assert square.shape == (256, 256, 3) and square.dtype == np.uint8 and square.flags.c_contiguous


def test_an_image_of_the_size_is_kept_as_it_is() -> None:
    image = np.random.default_rng(1).integers(0, 256, (32, 40, 3), np.uint8)
    assert (fit_image(image, PixelOptions(size_px=32)) == image[:, 4:36]).all()


def test_the_square_is_the_center() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255
    square = fit_image(image, PixelOptions(size_px=50))
    assert (square[:, 1:-1] == 255).all()
    assert (square[:, 0] == square[:, -1]).all() and 200 < square[0, 0, 0] < 255  # filters look beyond the crop


def test_area_averages_over_whole_factors() -> None:
    image = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    means = image.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(fit_image(image, PixelOptions(size_px=16, filter="area")) - means).max() <= 0.51


@pytest.mark.parametrize("filter_", ["bilinear", "bicubic", "lanczos"])
def test_convolutions_are_those_of_pillow(filter_: str) -> None:
    resized = np.asarray(Image.fromarray(PHOTO).resize((341, 256), Image.Resampling[filter_.upper()]))
    pillow = resized[:, 42:298]
    difference = np.abs(fit_image(PHOTO, PixelOptions(filter=filter_)).astype(int) - pillow)
    assert difference.max() <= 2 and difference.mean() < 0.5


@pytest.mark.parametrize("filter_", FILTERS)
@pytest.mark.parametrize("shape", [(300, 400), (401, 283), (90, 500), (256, 341), (100, 133), (40, 1000)])
def test_rescaling_and_cropping_in_one_pass_gives_what_two_steps_give(shape: tuple[int, int], filter_: Filter) -> None:
    height, width = shape
    image = np.asarray(Image.fromarray(PHOTO).resize((width, height), Image.Resampling.BICUBIC))
    whole = fit_image(image, PixelOptions(size_px=128, filter=filter_, fit="shorter"))
    top, left = (whole.shape[0] - 128) // 2, (whole.shape[1] - 128) // 2
    expected = whole[top : top + 128, left : left + 128]
    square = fit_image(image, PixelOptions(size_px=128, filter=filter_))
    assert np.abs(square.astype(int) - expected).max() <= 1


def test_the_area_of_a_very_long_image_is_cut_first() -> None:
    image = np.zeros((4, 80_000, 3), np.uint8)
    image[:, 39_998:40_002] = 255
    assert (fit_image(image, PixelOptions(filter="area"))[:, 64:192] > 200).all()


@pytest.mark.parametrize("filter_", FILTERS)
def test_shrinking_does_not_alias(filter_: str) -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the small image can show: must become gray, not new stripes
    small = fit_image(stripes, PixelOptions(size_px=150, filter=filter_))
    assert small.std() < 30


def test_the_geometry_of_earlier_versions_is_no_longer_made() -> None:
    with pytest.raises(InputError, match="crop-then-resize is that of earlier versions"):
        fit_image(PHOTO, PixelOptions(geometry="crop-then-resize"))


@pytest.mark.parametrize("chroma", ["420", "444"])
@pytest.mark.parametrize("quality", [50, 95, 100])
def test_a_stored_jpeg_is_baseline_plain_and_close(chroma: str, quality: int) -> None:
    options = PixelOptions(size_px=128, quality=quality, chroma=chroma)
    prepared = prepare_image(encode_image(PHOTO, PixelOptions(format="png")), options)
    image, data = prepared.image_HWC, prepared.encoded
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.format == "JPEG" and opened.mode == "RGB" and opened.size == (128, 128)
        assert not opened.info.get("progressive") and not opened.getexif() and "icc_profile" not in opened.info
        assert opened.layer[0][1:3] == ((2, 2) if chroma == "420" else (1, 1))  # type: ignore[attr-defined]
    assert np.abs(decode_stored(data, options).astype(int) - image).mean() < (6 if quality == 50 else 2.5)


@pytest.mark.parametrize(
    ("shape", "expected"), [((300, 400), (64, 85)), ((400, 300), (85, 64)), ((64, 90), (64, 90)), ((1, 3), (64, 192))]
)
@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_the_whole_image_can_be_kept(shape: tuple[int, int], expected: tuple[int, int], format: str) -> None:
    options = PixelOptions(size_px=64, fit="shorter", format=format)
    image = fit_image(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8), options)
    assert image.shape[:2] == expected
    assert decode_stored(encode_image(image, options), options).shape == image.shape


def test_an_image_too_long_to_be_kept_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="would become"):
        fit_image(np.zeros((1, 2000, 3), np.uint8), PixelOptions(fit="shorter"))


@pytest.mark.parametrize(("format", "is_kept"), [("jpeg", False), ("png", True)])
def test_a_side_that_the_stored_format_does_not_have_is_refused(format: str, is_kept: bool) -> None:
    image = np.zeros((1, 8190, 3), np.uint8)  # would become 65,520 x 8
    options = PixelOptions(size_px=8, fit="shorter", format=format)
    if is_kept:
        assert fit_image(image, options).shape == (8, 65_520, 3)
    else:
        with pytest.raises(InputError, match="would become 65520 x 8, but jpeg allows 65500 per side"):
            fit_image(image, options)
    assert encode_image(fit_image(image[:, :8187], options), options)  # 65,496


@pytest.mark.parametrize("format", ["png", "raw"])
def test_lossless_formats_give_the_same_pixels_back(format: str) -> None:
    options = PixelOptions(size_px=64, format=format)
    image = fit_image(PHOTO, options)
    assert (decode_stored(encode_image(image, options), options) == image).all()


@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_whatever_the_source_was_dali_decodes_what_is_stored(format: str) -> None:
    from nvidia.dali import fn, pipeline_def

    photo = Image.fromarray(PHOTO)
    files = {
        "gray": ("L", "JPEG", {}),
        "cmyk": ("CMYK", "JPEG", {}),
        "progressive": ("RGB", "JPEG", {"progressive": True}),
        "palette": ("P", "PNG", {}),
        "bilevel": ("1", "PNG", {}),
        "alpha": ("RGBA", "WEBP", {}),
    }
    options = PixelOptions(size_px=64, format=format)
    stored = []
    for mode, format_, save in files.values():
        file = io.BytesIO()
        photo.convert(mode).save(file, format_, **save)
        stored.append(prepare_image(file.getvalue(), options).encoded)

    @pipeline_def(batch_size=len(stored), num_threads=1, device_id=None)
    def pipeline():  # type: ignore[no-untyped-def]
        data = fn.external_source(source=lambda: [np.frombuffer(one, np.uint8) for one in stored])
        return fn.decoders.image(data, device="cpu")

    built = pipeline()
    built.build()
    (images,) = built.run()
    for name, i in zip(files, range(len(stored)), strict=True):
        image = np.asarray(images[i])
        assert image.shape == (64, 64, 3), name
        assert np.abs(image.astype(int) - decode_stored(stored[i], options)).max() <= 3, name
        if name in ("gray", "bilevel"):
            assert (image == image[..., :1]).all(), name


@pytest.mark.parametrize("format", ["jpeg", "png", "raw"])
def test_a_stored_image_of_another_size_is_refused(format: str) -> None:
    small, large = PixelOptions(size_px=32, format=format), PixelOptions(size_px=64, format=format)
    with pytest.raises(ValueError, match="expected"):
        decode_stored(encode_image(fit_image(PHOTO, small), small), large)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"size_px": 4}, "size must be 8 to 4096"),
        ({"format": "gif"}, "format must be one of jpeg, png, webp, raw"),
        ({"quality": 0}, "quality must be 1 to 100"),
        ({"chroma": "422"}, "chroma must be one of 420, 444"),
        ({"filter": "sinc"}, "filter must be one of"),
        ({"fit": "stretch"}, "fit must be one of"),
        ({"fit": "shorter", "format": "raw"}, "format raw stores no shape"),
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PixelOptions(**wrong)  # type: ignore[arg-type]


def test_only_installed_libraries_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "cykooz-resizer":  # as on aarch64
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(prepare, "version", version)
    assert prepare.software_versions() == {"opencv-python-headless": "1.0", "pillow": "1.0", "simplejpeg": "1.0"}
