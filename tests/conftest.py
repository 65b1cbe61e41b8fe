"""Shared fixtures: small, complete shard sets of generated images."""

import io
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from alexkit.prep import ColorStatistics, Manifest, PixelOptions, PixelSums
from alexkit.prep.format.manifest import ClassEntry, complete_set
from alexkit.prep.format.shard import Sample, write_shard
from alexkit.prep.images.geometry import central_square

# Under nohup and in background jobs these signals are ignored, which every program that a test starts would inherit.
for number, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

DrawShards = Callable[..., Path]
DrawImage = Callable[[int, int, int], NDArray[np.uint8]]


def draw_image(number: int, label: int, size_px: int) -> NDArray[np.uint8]:
    """A smooth uint8 (H, W, 3) image that a network can classify: its color and slope depend on the label."""
    rng = np.random.default_rng([number, label])
    y, x = np.mgrid[0:size_px, 0:size_px] / size_px
    slope = np.cos(label) * x + np.sin(label) * y
    color = 90 + 70 * np.cos(label * 2.4 + np.arange(3))
    image = color + 60 * np.sin(8 * slope + rng.uniform(0, 6))[..., None] + rng.normal(0, 12, (size_px, size_px, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def encode(image_HWC: NDArray[np.uint8], pixels: PixelOptions) -> bytes:
    """Encode one image as the content of its image member."""
    if pixels.format == "raw":
        return image_HWC.tobytes()
    file = io.BytesIO()
    if pixels.format == "png":
        Image.fromarray(image_HWC).save(file, "PNG")
    else:
        subsampling = {"420": 2, "444": 0}[pixels.chroma]
        Image.fromarray(image_HWC).save(file, "JPEG", quality=pixels.quality, subsampling=subsampling)
    return file.getvalue()


def write_shard_set(
    folder: Path,
    *,
    num_samples: int = 40,
    num_classes: int = 4,
    size_px: int = 64,
    samples_per_shard: int = 16,
    format: str = "jpeg",
    fit: str = "crop",
    chroma: str = "420",
    split: str = "train",
    draw: DrawImage = draw_image,
    label_of: Callable[[int], int] | None = None,
) -> Path:
    """Write a complete shard set of generated images to `folder`; sample i has key `sample-{i:04d}`.

    Its label is `label_of(i)`, by default i % num_classes.
    """
    label_of = label_of or (lambda i: i % num_classes)
    folder.mkdir(parents=True)
    pixels = PixelOptions(size_px=size_px, format=format, fit=fit, chroma=chroma)
    sums = PixelSums.zero(size_px)
    samples = []
    for i in range(num_samples):
        image = draw(i, label_of(i), size_px)
        sums = sums + PixelSums.of(central_square(image))
        samples.append(Sample(key=f"sample-{i:04d}", image=encode(image, pixels), label=label_of(i)))
    shards = [
        write_shard(
            folder / f"{split}-{number:05d}.tar", samples[start : start + samples_per_shard], image_ext=pixels.image_ext
        )
        for number, start in enumerate(range(0, num_samples, samples_per_shard))
    ]
    manifest = Manifest(
        split=split,
        seed=0,
        images_per_shard=samples_per_shard,
        pixels=pixels,
        software={},
        classes=tuple(ClassEntry(index=i, id=f"class{i}", name=f"class {i}") for i in range(num_classes)),
        shards=tuple(shard.entry for shard in shards),
        quarantined=(),
        color=ColorStatistics.from_sums(sums),
    )
    complete_set(folder, manifest, sums, (shard.rows for shard in shards))
    return folder


@pytest.fixture(scope="session")
def draw_shards(tmp_path_factory: pytest.TempPathFactory) -> DrawShards:
    """`draw_shards(**options)` returns the folder of a shard set; options as for `write_shard_set`.

    Sets with equal options are written once and shared, so a test that damages a set must write its own.
    """
    folders: dict[str, Path] = {}

    def draw(**options: object) -> Path:
        name = repr(sorted(options.items()))
        if name not in folders:
            folders[name] = write_shard_set(tmp_path_factory.mktemp("shards") / "set", **options)  # type: ignore[arg-type]
        return folders[name]

    return draw


@pytest.fixture(autouse=True)
def memory_limit() -> Iterator[None]:
    """Lift the limit that a worker sets to itself, where a test runs its task in this process."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)], capture_output=True)
    if os.geteuid() != 0 or mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
