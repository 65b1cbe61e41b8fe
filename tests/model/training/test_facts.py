import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexkit.model.processes.layout import require_same
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.facts import run_facts


@pytest.fixture(scope="module")
def shards(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("facts")
    for name, classes in (("one", 4), ("other", 3)):
        (folder / name).mkdir()
        (folder / name / "train").symlink_to(draw_shards(num_samples=24, size_px=32, num_classes=classes))
    return folder


def facts(shards: Path, folder: Path, *overrides: str, name: str = "one") -> dict[str, str]:
    return run_facts(load_recipe("cifar10-19", overrides), shards / name, None, folder, torch.float32)


class Store(dict[str, bytes]):
    """As much of torch's store as is needed."""

    def set(self, key: str, value: str) -> None:
        self[key] = value.encode()


def difference(first: dict[str, str], second: dict[str, str]) -> str:
    store = Store()
    store.set("facts-1", json.dumps(second))
    with pytest.raises(ValueError, match="the processes of this run differ in") as caught:
        require_same(store, 0, 2, first)
    return str(caught.value)


def test_equal_processes_agree(shards: Path, tmp_path: Path) -> None:
    store, same = Store(), facts(shards, tmp_path)
    store.set("facts-1", json.dumps(same))
    require_same(store, 0, 2, same)


def test_the_first_key_that_differs_is_named_with_both_values(shards: Path, tmp_path: Path) -> None:
    here = facts(shards, tmp_path)
    two = facts(shards, tmp_path, "training.rate=0.1", "training.seed=3")
    assert "differ in --set training.seed: 0 in process 0, 3 in process 1" in difference(here, two)
    smaller = facts(shards, tmp_path, "training.batch_size=64")
    assert "--set training.batch_size: 128 in process 0, 64 in process 1" in difference(here, smaller)
    data = difference(here, facts(shards, tmp_path, name="other"))
    assert "data of train: 24 images, 4 classes" in data and "24 images, 3 classes" in data
    (tmp_path / "checkpoints" / "step-00000003").mkdir(parents=True)
    assert "newest checkpoint: none in process 0, step-00000003" in difference(here, facts(shards, tmp_path))
