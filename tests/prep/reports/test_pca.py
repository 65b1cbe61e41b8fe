"""Laws of the recomputed statistics and their pictures."""

import io
import shutil
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from alexkit.cli.alexprep import alexprep
from alexkit.prep import ColorStatistics, PixelOptions, PixelSums, ShardSet
from alexkit.prep.build.adopt import adopt_webdataset
from alexkit.prep.reports.inspect import inspection_page
from alexkit.prep.reports.pca import report_colors, sample_pixels, stored_sums
from alexkit.prep.reports.pca_plot import save_mean_image, save_pca_plot
from alexkit.prep.reports.survey import survey_set

from ...conftest import draw_image, encode, write_shard_set


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


def test_a_first_tar_without_samples_is_passed_over_for_pictures(tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    for name, members in (("a.tar", ()), ("b.tar", ("0.png", "0.cls", "1.png", "1.cls"))):
        with tarfile.open(tmp_path / "tars" / name, "w") as tar:
            for member in members:
                content = encode(draw_image(1, 1, 32), PixelOptions(size_px=32, format="png"))
                content = content if member.endswith("png") else member[:1].encode()
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    adopted = adopt_webdataset(tmp_path / "tars", tmp_path / "adopted")
    assert sample_pixels(ShardSet.open(adopted)).shape[1] == 3
    assert recompute(adopted)[1].num_images == 2
    page = inspection_page([survey_set(adopted)], [], None)
    assert "<td>a.tar" in page and "<td>b.tar" in page


def test_pictures_of_one_color_have_no_direction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers come without Matplotlib too."""
    folder = write_shard_set(
        tmp_path / "set", size_px=32, num_samples=4, format="png", draw=lambda *_: np.full((32, 32, 3), 9, np.uint8)
    )
    drawn = CliRunner().invoke(alexprep, ["pca", str(folder), "--workers", "1"], catch_exceptions=False)
    assert drawn.exit_code == 0 and drawn.stdout.count(" 0.00%") == 3 and "-0.00" not in drawn.stdout
    assert (folder / "pca.png").exists()
    (folder / "pca.png").unlink()
    (folder / "pca.json").unlink()
    monkeypatch.setattr("alexkit.extras.find_spec", lambda name: None)
    result = CliRunner().invoke(alexprep, ["pca", str(folder), "--workers", "1"], catch_exceptions=False)
    assert result.exit_code == 0 and result.stdout == drawn.stdout
    assert "no pca.png: drawing pictures needs Matplotlib: pip install 'alexkit[report]'" in result.stderr
    assert (folder / "pca.json").exists() and not (folder / "pca.png").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ColorStatistics.from_sums(ShardSet.open(folder).sums()).shares_K == (0, 0, 0)
