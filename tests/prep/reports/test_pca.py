"""Laws of the recomputed statistics and their pictures."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexkit.prep import PixelSums, ShardSet
from alexkit.prep.reports.pca import report_colors, sample_pixels, stored_sums
from alexkit.prep.reports.pca_plot import save_mean_image, save_pca_plot


def recompute(folder: Path) -> tuple[ShardSet, PixelSums]:
    shard_set = ShardSet.open(folder)
    return shard_set, stored_sums(shard_set, num_workers=2, on_progress=lambda done: None)


@pytest.mark.parametrize("format", ["png", "raw"])
def test_lossless_shards_give_the_fused_statistics_to_the_last_bit(draw_shards, format: str) -> None:  # type: ignore[no-untyped-def]
    report = report_colors(*recompute(draw_shards(format=format)))
    assert report.equal and report.max_mean_image_difference == 0 and report.stored == report.fused


def test_jpeg_moves_them_a_little(draw_shards) -> None:  # type: ignore[no-untyped-def]
    report = report_colors(*recompute(draw_shards(format="jpeg", chroma="444")))
    assert not report.equal
    assert np.abs(np.array(report.stored.mean_C) - report.fused.mean_C).max() < 0.5
    assert 0 < report.max_mean_image_difference < 10
    written = report.to_json()["stored"]
    assert written["eigenvalues_0_1"][0] == pytest.approx(written["eigenvalues_0_255"][0] / 255**2)


def test_an_image_that_rotted_is_named_with_shard_key_and_byte(draw_shards, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "set"
    shutil.copytree(draw_shards(), folder)
    shard_set = ShardSet.open(folder)
    index = shard_set.index(1)
    shard = folder / shard_set.manifest.shards[1].name
    content = bytearray(shard.read_bytes())
    content[index.image_offsets[2] : index.image_offsets[2] + 4] = b"\0\0\0\0"
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{shard}: sample '{index.keys[2]}' at byte {index.image_offsets[2]}: "):
        recompute(folder)


def test_the_pictures_are_whole_images(draw_shards, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    shard_set, sums = recompute(draw_shards(format="png"))
    report = report_colors(shard_set, sums)
    save_mean_image(tmp_path / "mean.png", sums.mean_image_HWC())
    save_pca_plot(
        tmp_path / "pca.png",
        title="drawn",
        color=report.stored,
        mean_image_HWC=sums.mean_image_HWC(),
        pixels_PC=sample_pixels(shard_set),
    )
    mean = np.asarray(Image.open(tmp_path / "mean.png"))
    assert np.abs(mean - sums.mean_image_HWC()).max() <= 0.5
    picture = np.asarray(Image.open(tmp_path / "pca.png").convert("RGB"))
    assert min(picture.shape[:2]) > 400 and picture.std() > 20
