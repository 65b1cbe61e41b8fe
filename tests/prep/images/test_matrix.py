"""Each kind of image through `shard`, and through `adopt` and the loader, beside an independent decode by Pillow."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from alexkit.prep import PixelOptions, ShardSet
from alexkit.prep.build.adopt import adopt_webdataset
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.images import decode_rgb
from alexkit.prep.sources.recognize import open_source

SIDE = 64
# Name of the kind: Pillow's mode, format and options of saving, tolerance of the mean difference in gray levels.
KINDS: dict[str, tuple[str, str, dict[str, object], float]] = {
    "plain.jpg": ("RGB", "JPEG", {"quality": 90}, 0.5),
    "progressive.jpg": ("RGB", "JPEG", {"quality": 90, "progressive": True}, 0.5),
    "gray.jpg": ("L", "JPEG", {"quality": 90}, 0.5),
    "turned.jpg": ("RGB", "JPEG", {"quality": 90, "orientation": 6}, 0.5),
    "cmyk.jpg": ("CMYK", "JPEG", {"quality": 90}, 1.0),
    "plain.png": ("RGB", "PNG", {}, 0.0),
    "palette.png": ("P", "PNG", {}, 0.0),
    "bilevel.png": ("1", "PNG", {}, 0.0),
    "alpha.png": ("RGBA", "PNG", {}, 0.0),
    "gray.png": ("L", "PNG", {}, 0.0),
    "turned.png": ("RGB", "PNG", {"orientation": 3}, 0.0),
    "plain.webp": ("RGB", "WEBP", {"lossless": True}, 0.0),
    "turned.webp": ("RGB", "WEBP", {"lossless": True, "orientation": 8}, 0.0),
    "alpha.webp": ("RGBA", "WEBP", {"lossless": True}, 0.0),
    "lossy.webp": ("RGB", "WEBP", {"quality": 80}, 0.0),
    "plain.gif": ("P", "GIF", {}, 0.0),
    "plain.bmp": ("RGB", "BMP", {}, 0.0),
    "plain.tif": ("RGB", "TIFF", {}, 0.0),
    "turned.tif": ("RGB", "TIFF", {"orientation": 6}, 0.0),
    "alpha.tif": ("RGBA", "TIFF", {}, 0.0),
    "plain.ppm": ("RGB", "PPM", {}, 0.0),
    "plain.avif": ("RGB", "AVIF", {}, 0.0),
    "plain.jp2": ("RGB", "JPEG2000", {}, 0.0),
}
# What a loader would show otherwise than it is: stored pixels that are turned or transparent.
NOT_ADOPTED = {"turned.jpg", "turned.png", "turned.webp", "alpha.png", "alpha.webp"}


def content(kind: str, number: int) -> bytes:
    mode, format_, options, _ = KINDS[kind]
    small = Image.fromarray(np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8))
    image = small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize((SIDE, SIDE)))
    image = image.convert(mode)
    saved = dict(options)
    if orientation := saved.pop("orientation", None):
        exif = Image.Exif()
        exif[0x0112] = orientation
        saved["exif"] = exif
    file = io.BytesIO()
    image.save(file, format_, **saved)
    return file.getvalue()


def by_pillow(data: bytes) -> NDArray[np.int64]:
    """Upright RGB over white, by Pillow alone."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of raw pixels from every kind, and its source."""
    folder = tmp_path_factory.mktemp("matrix")
    for i, kind in enumerate(KINDS):
        (folder / "source" / ("even", "odd")[i % 2]).mkdir(parents=True, exist_ok=True)
        (folder / "source" / ("even", "odd")[i % 2] / kind).write_bytes(content(kind, i))
    options = BuildOptions(pixels=PixelOptions(size_px=SIDE, format="raw"), num_workers=1)
    build_shards(open_source(folder / "source"), folder / "out", options, on_split=lambda split: lambda done, bad: None)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_sharded_pixels_are_those_of_an_independent_decode(sharded: Path, kind: str) -> None:
    shard_set = ShardSet.open(sharded / "out/train")
    assert shard_set.manifest.num_samples == len(KINDS) and not shard_set.manifest.quarantined
    (source,) = (sharded / "source").glob(f"*/{kind}")
    with tarfile.open(sharded / "out/train" / shard_set.manifest.shards[0].name) as tar:
        stem = f"_{source.parent.name}_{kind.partition('.')[0]}"
        found = [tar.extractfile(name).read() for name in tar.getnames() if name.endswith(f"{stem}.raw")]  # type: ignore[union-attr]
    expected = by_pillow(source.read_bytes())
    differences = [
        np.abs(np.frombuffer(raw, np.uint8).reshape(SIDE, SIDE, 3).astype(int) - expected).mean() for raw in found
    ]
    assert min(differences) <= KINDS[kind][3]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.endswith(("jpg", "png", "webp"))])
def test_adopted_pixels_are_those_of_an_independent_decode_or_refused(tmp_path: Path, kind: str) -> None:
    from alexkit.pipeline import CenterCrop, Loader

    stem, ext = kind.split(".")
    files = [content(kind, i) for i in range(4)]
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars/t-0.tar", "w") as tar:
        for i, data in enumerate(files):
            for name, member in ((f"{stem}{i}.{ext}", data), (f"{stem}{i}.cls", b"%d" % (i % 2))):
                info = tarfile.TarInfo(name)
                info.size = len(member)
                tar.addfile(info, io.BytesIO(member))
    if kind in NOT_ADOPTED:
        with pytest.raises(ValueError, match="or shard the images again with 'alexprep shard'"):
            adopt_webdataset(tmp_path / "tars", tmp_path / "adopted")
        return
    adopted = adopt_webdataset(tmp_path / "tars", tmp_path / "adopted")
    with Loader(adopted, batch_size=4, augment=CenterCrop(crop=SIDE, mean="none")) as loader:
        (batch,) = loader
    loaded = np.rint(batch.images.permute(0, 2, 3, 1).numpy()).astype(int)
    statistics = ShardSet.open(Path(adopted)).sums().mean_image_HWC()
    expected = np.stack([decode_rgb(data) for data in files]).astype(int)
    assert np.abs(np.stack([by_pillow(data) for data in files]) - expected).mean() <= KINDS[kind][3]
    # DALI's decoder and ours differ by a level here and there.
    assert np.abs(statistics - expected.mean(0)).mean() <= 0.5
    assert np.abs(np.sort(loaded.reshape(4, -1), 0) - np.sort(expected.reshape(4, -1), 0)).mean() <= 1.5
