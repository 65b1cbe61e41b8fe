"""The page "ImageNet, from the download to Table 2": its arithmetic, and its chain of runs on a few images."""

import re
import shlex
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from alexkit.cli.alexprep import alexprep
from alexkit.cli.alextrain import alextrain
from alexkit.cli.train.cost import cost_of
from alexkit.model import Trainer
from alexkit.model.evaluation.views import SomeViews
from alexkit.model.runs.checkpoint import newest_checkpoint

PAGE = (Path(__file__).parents[2] / "docs/tutorials/imagenet.md").read_text()
CHAIN = re.findall(r"^```\n(.*?)^```", PAGE[PAGE.index("## 7.") :], re.M | re.S)[0].splitlines()
"""The commands for the rows that need other images than ILSVRC 2012."""

CONVS = {"conv1", "conv2", "conv3", "conv4", "conv5"}
STARTS: dict[str, tuple[str, set[str]]] = {
    "original": ("", set()),
    "146-2009": ("original", CONVS),
    "146-2011": ("146-2009", {*CONVS, "conv6"}),
    "t2c": ("146-2011", {*CONVS, "conv6", "fc6"}),
    "t2d-seed0": ("146-2011", {*CONVS, "conv6"}),
    "t2d-seed1": ("146-2011", {*CONVS, "conv6"}),
    "t3": ("", set()),
}
"""By run: the run it starts from, and the layers it copies, of those that `run` keeps."""


def test_the_hours_by_number_of_gpus_are_those_of_the_recipes() -> None:
    def hours(name: str, gpus: int) -> list[float]:
        """Of one network by itself, in replicas; of all networks, one on each GPU; with the runs before it."""
        cost = cost_of(name, 1000)
        assert cost is not None
        alone = cost.hours / cost.networks
        return [alone / gpus, alone * ceil(cost.networks / gpus), cost.hours_in_all / gpus]

    rows = {
        row[0]: row[1:] for row in re.findall(r"^\| `(t2.)`[^|]* \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.M)
    }
    for name, way in (("t2a", 0), ("t2b", 1), ("t2c", 2), ("t2d", 1)):
        assert rows.pop(name) == tuple(f"{hours(name, gpus)[way]:.1f}" for gpus in (1, 2, 16))
    assert not rows


def test_an_image_is_evaluated_on_ten_views_and_costs_a_third_of_a_training_step_each() -> None:
    views = len(SomeViews(crop=224, mean="none", kinds=("center", "ten")).fixed_views(256))
    cost = cost_of("t2a")
    assert views == 10 and cost is not None
    as_training = 50_000 * views / 3  # forward, and neither of the two products of the backward pass
    assert f"{as_training / 1000:.0f},000 training images" in PAGE
    assert f"{as_training / cost.images:.2%} of a run".replace("%", " %") in PAGE


@pytest.fixture
def folder(draw_shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: shards of ILSVRC 2012 and class folders of the two releases, a few images each."""
    monkeypatch.chdir(tmp_path)
    Path("data/shards").mkdir(parents=True)
    for split in ("train", "val"):
        Path("data/shards", split).symlink_to(draw_shards(num_samples=4, size_px=256, split=split))
    rng = np.random.default_rng(0)
    for name, num_classes, num_images in (("fall2009", 2, 8), ("fall2011", 3, 6)):
        for i in range(num_images):
            path = Path(name, f"n{i % num_classes:08}", f"{i}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (256, 300, 3), np.uint8)).save(path)
    yield tmp_path
    rmtree(tmp_path)  # a gigabyte of checkpoints


def run(command: str) -> None:
    """Run a command of the page, with its absolute paths below the current folder.

    Networks are trained for one epoch. fc6 and fc7 hold nine tenths of the weights, so they are left out, except for
    one fc6 that is copied from one run to the next.
    """
    program, *words = [word.removeprefix("/") for word in shlex.split(command, comments=True)]
    if program == "alextrain":
        without = "['fc7']" if {"146-2011", "t2c"} & set(words) else "['fc6', 'fc7']"
        for setting in (f"network.without={without}", "training.epochs=1", "training.batch_size=4"):
            words += ["--set", setting]
    result = CliRunner().invoke({"alexprep": alexprep, "alextrain": alextrain}[program], words, catch_exceptions=False)
    assert result.exit_code == 0, f"{command}\n{result.output}"


def copied(own: dict[str, Tensor], theirs: dict[str, Tensor]) -> set[str]:
    """The layers that equal another run's; the others must be new: not trained, and nowhere like the other run's."""
    same = set()
    for layer in {name.rpartition(".")[0] for name in own}:
        names = [f"{layer}.weight", f"{layer}.bias"]
        if all(name in theirs and torch.equal(own[name], theirs[name]) for name in names):
            same.add(layer)
            continue
        weight, bias = (own[name] for name in names)
        other = theirs.get(names[0])
        assert bool((bias == bias[0]).all()), layer
        assert other is None or other.shape != weight.shape or (weight == other).float().mean() < 0.01, layer
    return same


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_each_network_of_the_chain_starts_from_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    train = Trainer.run
    found: dict[str, tuple[str, set[str]]] = {}

    def look_and_train(self: Trainer, *arguments: Any) -> dict[str, Any]:
        """Note what the run starts with, then train it."""
        run_folder = self.run_folder.folder
        before, _ = STARTS[run_folder.name]
        checkpoint = newest_checkpoint(run_folder.with_name(before) / "checkpoints") if before else None
        theirs = checkpoint.weights() if checkpoint else {}
        assert self.step == 0 and self.run_folder.result is None
        found[run_folder.name] = (before, copied(self.learner.whole_weights(), theirs))
        return train(self, *arguments)

    monkeypatch.setattr(Trainer, "run", look_and_train)
    for command in CHAIN:
        run(command)
    assert found == STARTS
