"""`torchrun … alexeval`: any number of processes sees each image once, and says what one process says."""

import csv
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from alexkit.cli.alexprep import alexprep
from alexkit.model import Network, Switches, wiring

from ..conftest import draw_image

pytestmark = pytest.mark.slow

NUM_IMAGES = 29  # no multiple of three processes
RECIPE = '[network]\nkind = "cifar10-13"\n[data]\ncrop = 24\nflip = true\n[training]\nprecision = "fp32"\n'


@pytest.fixture(scope="module")
def folder(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, and a validation set made of photographs named as ILSVRC's are."""
    folder = tmp_path_factory.mktemp("processes")
    network = Network(wiring(Switches(kind="cifar10-13")), 6, seed=3)
    save_file({name: 4 * x.detach().contiguous() for name, x in network.state_dict().items()}, folder / "w.safetensors")
    (folder / "recipe.toml").write_text(RECIPE)
    for number in range(NUM_IMAGES):
        path = folder / f"images/val/class{number % 6}/ILSVRC2012_val_{number + 1:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_image(number, number % 6, 40)).save(path)
    words = ["shard", folder / "images", "--out", folder / "shards", "--size", 32, "--workers", 1]
    result = CliRunner().invoke(alexprep, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    (folder / "shards" / "train").symlink_to(draw_shards(num_samples=24, size_px=32, num_classes=6))
    # ReaL's labels: none for the first photograph, two for the second, for all others what the set says.
    real = [[], [1, 4], *([number % 6] for number in range(2, NUM_IMAGES))]
    (folder / "real.json").write_text(json.dumps(real))
    return folder


def evaluate(folder: Path, processes: int, *words: str) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    run = ["w.safetensors", "--recipe", "recipe.toml", "--shards", "shards", "--device", "cpu", "--batch-size", "8"]
    command = [sys.executable, *torchrun, "-m", "alexkit.cli.alexeval", *run, *words]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_three_processes_say_what_one_says(folder: Path) -> None:
    found = {}
    for processes in (1, 3):
        words = ["--json", "--predictions", f"{processes}.csv", "--results", "timm.csv"]
        found[processes] = json.loads(evaluate(folder, processes, *words).stdout)  # printed once
    one, three = found[1]["rows"][0], found[3]["rows"][0]
    assert found[3]["images"] == NUM_IMAGES
    for view in ("center", "nine"):
        assert one[view]["images"] == three[view]["images"] == NUM_IMAGES
        assert three[view]["top1_error"] == pytest.approx(one[view]["top1_error"], abs=1e-9)
        assert three[view]["loss"] == pytest.approx(one[view]["loss"], rel=1e-5)
    rows = {number: list(csv.DictReader((folder / f"{number}.csv").open())) for number in (1, 3)}
    assert [row["key"] for row in rows[1]] == [row["key"] for row in rows[3]]
    assert len({row["key"] for row in rows[3]}) == NUM_IMAGES
    assert [row["class_1"] for row in rows[1]] == [row["class_1"] for row in rows[3]]
    timm = list(csv.DictReader((folder / "timm.csv").open()))
    assert list(timm[0]) == (
        ["model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation"]
    )  # of timm's results files
    assert len(timm) == 2 and timm[0] == timm[1] and timm[0]["crop_pct"] == "0.750"
    assert float(timm[0]["top1"]) == pytest.approx(100 - 100 * one["nine"]["top1_error"], abs=1e-3)


def test_reals_list_judges_by_any_of_its_labels_and_leaves_out_what_has_none(folder: Path) -> None:
    rows = {row["key"].rpartition("_")[2]: row for row in predictions(folder)}
    real = json.loads((folder / "real.json").read_text())
    wrong = [
        rows[f"{number + 1:08d}"]["class_1"] not in {f"class{label}" for label in labels}
        for number, labels in enumerate(real)
        if labels
    ]
    scored = json.loads(evaluate(folder, 1, "--labels", "real.json", "--views", "center", "--json").stdout)
    center = scored["rows"][0]["center"]
    assert center["images"] == NUM_IMAGES - 1 and "loss" not in center
    assert center["top1_error"] == pytest.approx(sum(wrong) / len(wrong))


def test_a_submission_is_in_the_order_of_file_names(folder: Path) -> None:
    rows = sorted(predictions(folder), key=lambda row: row["key"].rpartition("_")[2])
    lines = [[int(number) for number in line.split()] for line in (folder / "center.txt").read_text().splitlines()]
    assert [f"class{line[0] - 1}" for line in lines] == [row["class_1"] for row in rows]
    assert all(len(set(line)) == 5 for line in lines)


@functools.cache
def predictions(folder: Path) -> list[dict[str, str]]:
    for name in ("center.csv", "center.txt"):
        evaluate(folder, 1, "--views", "center", "--predictions", name)
    return list(csv.DictReader((folder / "center.csv").open()))
