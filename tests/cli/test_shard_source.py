"""What `alexprep shard` says of a source before any work, and the options that say how to read it."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexkit.cli.prep.source_options import LAYOUTS
from alexkit.prep import sources


def alexprep(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "alexprep", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def draw_source(tmp_path: Path) -> Callable[..., Path]:
    """`draw_source(splits=…)` is a folder of three classes of five images in each split, or in itself."""

    def draw(splits: tuple[str, ...]) -> Path:
        for number, (split, label, i) in enumerate(itertools.product(splits or ("",), range(3), range(5))):
            folder = tmp_path / "source" / split / f"n{label:08d}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.jpg")
        return tmp_path / "source"

    return draw


def test_the_layouts_of_the_option_are_those_of_the_library() -> None:
    assert LAYOUTS == sources.LAYOUTS


def test_a_dry_run_says_what_was_found_and_writes_nothing(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    source = draw_source(splits=("train", "valid", "test"))
    (source / "train/n00000000/Thumbs.db").write_bytes(b"x")
    (source / "valid/n00000002/readme.txt").write_text("x")
    done = alexprep("shard", source, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0 and not (tmp_path / "shards").exists()
    assert done.stdout.splitlines() == [
        f"found class folders in {source}/train; class folders in {source}/valid; class folders in {source}/test",
        "  train         15 images       3 classes",
        "  val           15 images       3 classes",
        "  test          15 images       3 classes",
        "  3 classes, sorted as text: n00000000, n00000001, n00000002",
        f"  passed over: hidden and system files: {source}/train/n00000000/Thumbs.db",
        f"  passed over: non-image files beside images: {source}/valid/n00000002/readme.txt",
    ]
    row = json.loads(alexprep("shard", source, "--dry-run", "--json", cwd=tmp_path).stdout)
    assert [(split["split"], split["images"]) for split in row["splits"]] == [("train", 15), ("val", 15), ("test", 15)]
    assert row["class_order"] == "text" and len(row["passed_over"]) == 2 and row["notes"] == []


def test_a_fraction_is_held_out_and_repair_takes_the_same_options(
    tmp_path: Path, draw_source: Callable[..., Path]
) -> None:
    source = draw_source(splits=())
    done = alexprep("shard", source, "--val-fraction", "0.2", "--size", "32", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    manifests = [json.loads((tmp_path / f"shards/{name}/manifest.json").read_bytes()) for name in ("train", "val")]
    assert [manifest["num_samples"] for manifest in manifests] == [12, 3]
    (tmp_path / "shards/val/val-00000.tar").write_bytes(b"")
    done = alexprep("repair", "shards", source, "--val-fraction", "0.2", cwd=tmp_path)
    assert done.returncode == 0 and "val-00000.tar made again" in done.stdout, done.stderr


def test_a_class_whose_images_are_all_bad_is_named(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    source = draw_source(splits=())
    done = alexprep("shard", source, "--size", "32", cwd=tmp_path)
    assert "classes have no images" not in done.stdout
    for path in (source / "n00000001").iterdir():
        path.write_bytes(b"\0\0\0\x18ftypheic")
    done = alexprep("shard", source, "--size", "32", "--out", "other", cwd=tmp_path)
    assert done.returncode == 0 and "note: train: 1 of 3 classes have no images: n00000001" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--val-fraction", "1"), r"'--val-fraction': 1.0 is not in the range 0<x<1"),
        (("--class-depth", "0"), "'--class-depth': 0 is not in the range 1<=x<=2048"),
        (("--keep", "caption,cls"), "--keep: 'cls' cannot be kept"),
        (("--keep", "caption"), "--keep caption: no image has a member, column or file of that name"),
        (("--layout", "parquet"), "holds no class folders, .* that can be read as parquet"),
    ],
)
def test_an_option_that_does_not_fit_is_one_line(
    tmp_path: Path, draw_source: Callable[..., Path], option: tuple[str, str], words: str
) -> None:
    done = alexprep("shard", draw_source(splits=()), *option, cwd=tmp_path)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert re.search(words, line), line


def test_the_first_line_says_what_is_listed_and_of_a_missing_folder_there_is_only_the_error(
    draw_source: Callable[..., Path], tmp_path: Path
) -> None:
    source = draw_source(("train",))
    found = alexprep("shard", source, "--dry-run", "--out", "out", cwd=tmp_path)
    assert found.stderr.splitlines()[0] == f"listing {source}" and found.stdout.startswith("found ")
    assert alexprep("shard", source, "--dry-run", "--out", "out", "--quiet", cwd=tmp_path).stderr == ""
    missing = alexprep("shard", "nowhere", "--out", "out", cwd=tmp_path)
    assert missing.returncode == 1 and missing.stderr.splitlines() == [missing.stderr.strip()]
    assert missing.stderr.startswith("Error: nowhere: no such folder")


def test_small_images_are_told_before_they_are_enlarged(capfd: pytest.CaptureFixture[str]) -> None:
    from alexkit.cli.prep.shard import _show_forecast
    from alexkit.prep.build.forecast import Forecast

    told = Forecast(num_images=60_000, num_bytes=10**9, seconds=60.0, largest_px=32)
    _show_forecast(32, told)
    assert "enlarged" not in capfd.readouterr().err
    _show_forecast(256, told)
    words = "shorter side: all will be enlarged to 256; consider --size 32 or smaller"
    assert words in capfd.readouterr().err
