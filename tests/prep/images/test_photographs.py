"""Real photographs: set ALEXKIT_IMAGENET_SAMPLE (class folders) and ALEXKIT_CIFAR10 (train/, test/) to run these."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexkit.prep import ColorStatistics, PixelOptions, PixelSums, ShardSet
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import FILTERS, Filter
from alexkit.prep.images import decode_rgb, fit_image
from alexkit.prep.sources.recognize import open_source


def folder_of(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} names no folder of real photographs")
    return Path(value)


def build(source: Path, out: Path, size_px: int) -> list[ShardSet]:
    options = BuildOptions(pixels=PixelOptions(size_px=size_px), images_per_shard=2500)
    built = build_shards(open_source(source), out, options, on_split=lambda split: lambda done, num_bad: None)
    return [split.shard_set for split in built]


def test_every_photograph_is_kept_and_the_colors_are_those_of_pillow(tmp_path: Path) -> None:
    source = folder_of("ALEXKIT_IMAGENET_SAMPLE")
    (shard_set,) = build(source, tmp_path / "out", 256)
    paths = [path for path in sorted(source.glob("*/*")) if not path.name.startswith(".")]
    assert shard_set.manifest.num_samples == len(paths) and not shard_set.manifest.quarantined
    sums = PixelSums.zero(256)
    for path in paths:
        with Image.open(path) as image:
            scale = 256 / min(image.size)
            width, height = round(image.width * scale), round(image.height * scale)
            resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - 256) // 2, (height - 256) // 2
        sums += PixelSums.of(np.asarray(resized.crop((left, top, left + 256, top + 256))))
    ours, pillow = shard_set.manifest.color, ColorStatistics.from_sums(sums)
    assert np.abs(np.array(ours.mean_C) - pillow.mean_C).max() < 3
    cosine = np.dot(ours.eigenvectors_KC[0], pillow.eigenvectors_KC[0])
    assert np.degrees(np.arccos(min(1.0, cosine))) < 5


@pytest.mark.parametrize("filter_", FILTERS)
def test_stored_pixels_are_within_half_a_level_of_pillow_and_opencv(filter_: Filter) -> None:
    import cv2

    differences = []
    for path in sorted(folder_of("ALEXKIT_IMAGENET_SAMPLE").glob("*/*"))[::10]:
        image_HWC = decode_rgb(path.read_bytes())
        height, width = image_HWC.shape[:2]
        scale = 256 / min(height, width)
        new_height, new_width = round(height * scale), round(width * scale)
        if filter_ == "area":
            method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            resized = np.asarray(cv2.resize(image_HWC, (new_width, new_height), interpolation=method))
        else:
            pillow = Image.fromarray(image_HWC).resize((new_width, new_height), Image.Resampling[filter_.upper()])
            resized = np.asarray(pillow)
        top, left = (new_height - 256) // 2, (new_width - 256) // 2
        stored = fit_image(image_HWC, PixelOptions(filter=filter_)).astype(int)
        differences.append(np.abs(stored - resized[top : top + 256, left : left + 256]).mean())
    assert max(differences) <= 0.5


@pytest.mark.slow
def test_cifar_keeps_its_counts_per_class(tmp_path: Path) -> None:
    source = folder_of("ALEXKIT_CIFAR10")
    for shard_set, per_class in zip(build(source, tmp_path / "out", 32), (5000, 1000), strict=True):
        labels: Counter[int] = Counter()
        for number, shard in enumerate(shard_set.manifest.shards):
            content = (shard_set.folder / shard.name).read_bytes()
            index = shard_set.index(number)
            labels.update(
                int(content[offset : offset + size])
                for offset, size in zip(index.label_offsets, index.label_sizes, strict=True)
            )
        assert dict(labels) == dict.fromkeys(range(10), per_class)
