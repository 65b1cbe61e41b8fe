"""Every benchmark runs, as small as it can be made; what it measures then means nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from .conftest import draw_image

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SMALLEST = {
    "prep": ("PHOTOS --repeat 1 --pairs 1 --workers 1", "alexkit is faster by"),
    "evaluation/reports": ("PHOTOS --images 12 --files 4 --turns 1", "of the speed of shards through the network"),
    "large_photos": ("PHOTOS --count 2 --turns 1 --megapixels 1", "scaled differs from full by"),
    "gpu": ("--rehearse --out .", "laws: "),
    "loader": ("PHOTOS --rounds 1 --seconds 0.01 --samples 300", "Loader, mean image and jitter"),
    "opening": ("--samples 300 --turns 1", "300 samples: "),
    "remote": ("PHOTOS --repeat 16 --images-per-shard 4 --turns 1 --latency-ms 0", "first epoch, store: "),
    "retrieval": ("--base 3000 --units 1100 --queries 600", "100.00% of rows are the same"),
    "resized_crops": ("PHOTOS --rounds 1 --seconds 0.01 --samples 300", "Loader, RandomResizedCrop"),
    "small_sets": ("PHOTOS --images 20 --turns 1 --workers 1", "two splits of 20 images"),
    "loading/boundaries": ("PHOTOS --epochs 2 --batches 2 --batch 4", "an epoch's boundary takes"),
    "loading/cold": ("PHOTOS --samples 40 --rehearse", "Loader, order window"),
    "preparation/coordinator": ("--workers 2 --rounds 1 --images-per-shard 4 --image-bytes 500", " of 3050 s"),
    "starting": ("--turns 1 --no-warm-up", "first step"),
    "training/precisions": ("PHOTOS --epochs 1 --seeds 1 --set training.batch_size=2", "bf16 - fp32"),
    "train": ("--batch 1 --steps 1 --turns 1 --cases fp32", "| ours, fp32 |"),
}


NEED_HOSTS = {"ray_faults", "slurm_node_lost", "training/on_clusters"}
"""Trials on hosts of their own, minutes long: tests/scale runs those of Ray; those of Slurm want root and daemons."""


PARTS = {"gpu_rows"}
"""Run by another benchmark."""


def test_every_benchmark_is_here() -> None:
    assert {
        path.relative_to(BENCHMARKS).with_suffix("").as_posix() for path in BENCHMARKS.rglob("*.py")
    } == SMALLEST.keys() | NEED_HOSTS | PARTS


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs_to_its_table(tmp_path: Path, name: str) -> None:
    arguments, printed = SMALLEST[name]
    for i in range(4):
        (tmp_path / f"photos/class{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_image(i, i % 2, 300)).save(tmp_path / f"photos/class{i % 2}/{i}.jpg")
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments.split()]
    command = [str(tmp_path / "photos") if word == "PHOTOS" else word for word in command]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout


WITHOUT_DALI = """
import sys

sys.modules["nvidia.dali"] = sys.modules["webdataset"] = None  # not installed
import gpu


def run_row(name, *others):
    if name == "step-fp32":
        raise KeyboardInterrupt
    return {"images_per_s": 12.0, "output": "cuda:0: Triton's kernels do not run (no C compiler)"}


gpu.run_row = run_row
sys.argv = ["gpu.py", "--rehearse", "--rows", "step-bf16,step-fp32", "--out", sys.argv[1]]
gpu.main()
"""


def test_a_gpus_table_of_steps_needs_no_dali_and_if_it_is_stopped_leaves_what_it_measured(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", WITHOUT_DALI, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "KeyboardInterrupt" in done.stderr
    result = json.loads((tmp_path / "gpu-rehearsal.json").read_text())
    assert list(result["rows"]) == ["step-bf16"] and not result["laws"]["passed"]
    table = (tmp_path / "gpu-rehearsal.md").read_text()
    assert "| step, bf16 (Triton's kernels did not run) | 12 |" in table and table.endswith("laws: not run yet\n")
