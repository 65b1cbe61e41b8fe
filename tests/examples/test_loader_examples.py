"""Every example program of the loader runs, and those that resume do so with the very next batch."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from ..conftest import write_shard_set

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
pytestmark = pytest.mark.slow


def example(name: str) -> Any:
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    write_shard_set(folder / "train", num_samples=64)
    write_shard_set(folder / "val", num_samples=40, split="val")
    return folder


def test_resnet18(shards: Path) -> None:
    assert 0 <= example("resnet18").main(str(shards), epochs=1, crop=48, batch_size=16) <= 1


@pytest.mark.parametrize(
    ("name", "needs"), [("lightning_training", "pytorch_lightning"), ("accelerate_training", "accelerate")]
)
def test_training_resumes_with_the_very_next_batch(shards: Path, tmp_path: Path, name: str, needs: str) -> None:
    pytest.importorskip(needs)
    main = example(name).main
    whole = main(str(shards), str(tmp_path / "whole"), max_steps=7)
    assert len(whole) == 7
    first = main(str(shards), str(tmp_path / "run"), max_steps=3)
    rest = main(str(shards), str(tmp_path / "run"), max_steps=7)
    assert first + rest == whole


def test_flax_learns(shards: Path) -> None:
    pytest.importorskip("flax")
    losses = example("flax_training").main(str(shards), epochs=3)
    assert losses[-1] < losses[0]


def test_scikit_learn_finds_classes_by_their_colors(shards: Path) -> None:
    pytest.importorskip("sklearn")
    assert example("scikit_learn_features").main(str(shards)) > 0.9
