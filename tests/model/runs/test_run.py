"""A run folder keeps what it takes to use its network without the training set."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexkit.model import Recipe
from alexkit.model.runs.run import Run
from alexkit.prep import ShardSet


def test_a_run_keeps_the_classes_the_preparation_and_the_statistics(
    draw_shards: Callable[..., Path], tmp_path: Path
) -> None:
    shard_set = ShardSet.open(draw_shards(num_samples=12, num_classes=3, size_px=32, format="png"))
    Run.start_or_resume(tmp_path / "run", Recipe(), shard_set)
    run = Run.open(tmp_path / "run")
    assert [(entry.index, entry.id, entry.name) for entry in run.data.classes] == [
        (i, f"class{i}", f"class {i}") for i in range(3)
    ]
    assert run.data.pixels == shard_set.manifest.pixels and run.data.pixels.format == "png"
    assert run.statistics is not None
    assert np.array_equal(run.statistics.image_HWC, shard_set.sums().image_HWC)


def test_a_run_of_an_older_version_still_opens(draw_shards: Callable[..., Path], tmp_path: Path) -> None:
    Run.start_or_resume(tmp_path, Recipe(), ShardSet.open(draw_shards(num_samples=12, num_classes=3, size_px=32)))
    config = json.loads((tmp_path / "config.json").read_text())
    del config["data"]["class_names"], config["data"]["pixels"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "statistics.npz").unlink()
    run = Run.open(tmp_path)
    assert [entry.name for entry in run.data.classes] == ["class0", "class1", "class2"]
    assert run.data.pixels is None and run.statistics is None


@pytest.mark.parametrize("pixels", [{"size_px": -1}, {"unknown": 1}, 5])
def test_a_damaged_preparation_names_the_file(pixels: object, draw_shards: Callable[..., Path], tmp_path: Path) -> None:
    Run.start_or_resume(tmp_path, Recipe(), ShardSet.open(draw_shards(num_samples=12, num_classes=3, size_px=32)))
    config = json.loads((tmp_path / "config.json").read_text())
    config["data"]["pixels"] = pixels
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json: damaged field"):
        Run.open(tmp_path)
