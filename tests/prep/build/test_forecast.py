"""Laws of the forecast: measured on what the run will do, absent where it would be felt, a refusal before the work."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from alexkit.prep.build import forecast
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.build.forecast import Forecast
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources.recognize import open_source
from alexkit.prep.storage import StoreUrl
from alexkit.prep.workers import pool

OPTIONS = BuildOptions(pixels=PixelOptions(size_px=32, format="png"), images_per_shard=100, num_workers=2)


@pytest.fixture
def large(draw_source: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source that counts as large: two splits of 60 images, one of them bad; every third makes the pilot."""
    monkeypatch.setattr(forecast, "PILOT_IMAGES", 40)
    monkeypatch.setattr(forecast, "MIN_IMAGES", 120)
    source = draw_source(images_per_class=20)
    (source / "train/n00000000/n00000000_0.JPEG").write_bytes(b"no image")
    return source


def build(source: Path, out: Path) -> list[Forecast]:
    told: list[Forecast] = []
    build_shards(
        open_source(source), out, OPTIONS, on_split=lambda split: lambda done, bad: None, on_forecast=told.append
    )
    return told


def test_a_large_source_is_forecast_to_within_a_quarter(large: Path, tmp_path: Path) -> None:
    (told,) = build(large, tmp_path / "out")
    assert told.num_images == 120 and told.seconds > 0
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*-0*"))
    assert told.num_bytes == pytest.approx(written, rel=0.25)  # of 40 tiny images; tars end in up to 10 kB of zeros


def test_a_source_of_small_images_is_told_before_they_are_enlarged(large: Path, tmp_path: Path) -> None:
    pilot = [Path(image.container) for split in open_source(large).splits for image in split.images[::3]]
    sides = [min(Image.open(path).size) for path in pilot if path.read_bytes() != b"no image"]
    (told,) = build(large, tmp_path / "out")
    assert told.largest_px == max(sides) > min(sides)


def test_the_pilot_does_not_change_a_byte(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    assert build(large, tmp_path / "measured")
    monkeypatch.setattr(forecast, "MIN_IMAGES", 121)
    assert not build(large, tmp_path / "small")
    assert tree_hashes(tmp_path / "measured") == tree_hashes(tmp_path / "small")


def test_a_run_that_goes_on_or_is_complete_is_not_measured_again(large: Path, tmp_path: Path) -> None:
    def stop(done: int, bad: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_shards(open_source(large), tmp_path / "out", OPTIONS, on_split=lambda split: stop)
    assert build(large, tmp_path / "out") == []
    assert build(large, tmp_path / "out") == []


def test_a_disk_without_room_is_refused_before_anything_is_made(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=50_000))
    with pytest.raises(ValueError, match=r"out/deep: 0\.00 GB free, but about 0\.\d\d GB needed; make room"):
        build(large, tmp_path / "out/deep")
    assert not (tmp_path / "out").exists()


def test_a_source_that_does_not_answer_ends_the_pilot(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_READ_SECONDS", 0.5)
    (large / "train/n00000000/n00000000_0.JPEG").unlink()
    os.mkfifo(large / "train/n00000000/n00000000_0.JPEG")
    source = open_source(large)
    with pytest.raises(TimeoutError, match="the source does not respond"):
        forecast.measure(source.splits, OPTIONS.pixels, num_workers=2)


def test_shards_that_a_store_does_not_take_are_refused_before_the_work() -> None:
    told = Forecast(num_images=100_000, num_bytes=20 * 10**9, seconds=1.0)
    splits = [SimpleNamespace(images=range(90_000)), SimpleNamespace(images=range(10_000))]

    def refuse(url: str, size: int) -> None:
        forecast.refuse_too_large_shards(StoreUrl.parse(url), splits, told, images_per_shard=size)  # type: ignore[arg-type]

    refuse("s3://bucket/out", 25_000)
    refuse("gs://bucket/out", 90_000)
    with pytest.raises(
        ValueError, match=r"shards of 30000 images would be about 6\.3 GB each, .* --images-per-shard to 25565 or"
    ):
        refuse("s3://bucket/out", 30_000)
    with pytest.raises(ValueError, match=r"the store accepts at most 5\.2 GB per request"):
        refuse("az://container/out", 30_000)
    with pytest.raises(ValueError, match=r"shards of 90000 images .* --images-per-shard to 25565 or"):
        refuse("s3://bucket/out", 200_000)
