from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from .run_kit import train


@pytest.fixture(scope="session")
def shards(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ and val/ of 32 px images: six steps per epoch, four classes."""
    folder = tmp_path_factory.mktemp("split")
    (folder / "train").symlink_to(draw_shards(num_samples=100, size_px=32))
    (folder / "val").symlink_to(draw_shards(num_samples=40, size_px=32, split="val"))
    return folder


@pytest.fixture(scope="session")
def finished(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was never interrupted."""
    torch.set_num_threads(1)  # as in the processes that are compared with it
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(shards, folder)
    return folder
