"""Stored values: no version of this project, of NumPy or of DALI may change what a seed means."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alexkit.pipeline import (
    Augmentation,
    ClassBalanced,
    Loader,
    Mixed,
    RandomResizedCrop,
    TrainAugment,
    Weighted,
)
from alexkit.pipeline.augment.kernels import draw_boxes, draw_colors, draw_erased
from alexkit.pipeline.epochs.draws import draw
from alexkit.pipeline.epochs.order import shards_order, window_order
from alexkit.pipeline.epochs.sampling import Sampling

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())


def count_image(number: int, label: int, size_px: int) -> NDArray[np.uint8]:
    """Integers only, so that it is the same on every machine."""
    y, x, c = np.mgrid[0:size_px, 0:size_px, 0:3]
    return ((7 * y + 13 * x + 29 * c + 31 * number) % 251).astype(np.uint8)


def test_the_draws_of_twenty_samples_never_change() -> None:
    numbers = np.arange(20)
    draws = draw(42, 3, numbers, numbers, (33, 33))
    assert draws.crop_B2.tolist() == GOLDEN["crops"]
    assert draws.mirror_B.tolist() == GOLDEN["mirrors"]
    # Six digits: the last places are the math library's.
    assert np.round(draws.alpha_B3.astype(float), 5).tolist() == GOLDEN["alphas"]


def test_boxes_colors_and_erased_rectangles_of_twenty_samples_never_change() -> None:
    numbers = np.arange(20)
    shapes = np.stack([256 + numbers, 300 + 7 * numbers], 1)
    assert draw_boxes(42, 3, numbers, shapes, (0.08, 1.0), (3 / 4, 4 / 3)).tolist() == GOLDEN["boxes"]
    assert draw_erased(42, 3, numbers, (224, 224), 0.5, (0.02, 0.33), (0.3, 3.3)).tolist() == GOLDEN["erased"]
    colors = draw_colors(42, 3, numbers, (0.4, 0.4, 0.4, 0.1), 0.2)[:5].astype(float)
    assert np.abs(colors - GOLDEN["colors"]).max() <= 0.001  # the last places are the math library's


def test_orders_and_samplings_never_change() -> None:
    assert shards_order(42, 3, np.arange(0, 101, 5)).tolist() == GOLDEN["shards"]
    assert window_order(42, 3, 1_281_167)[:100].tolist() == GOLDEN["window"]
    labels = (np.arange(20) ** 2 % 5).astype(np.int32)
    samplings: dict[str, Sampling] = {
        "ClassBalanced": ClassBalanced(),
        "Weighted": Weighted(weights=np.arange(20)),
        "Mixed": Mixed(weights=[1, 3]),
    }
    for name, sampling in samplings.items():
        order = sampling.drawn(labels, np.array([0, 12, 20])).order
        assert order is not None and order(42, 3).tolist() == GOLDEN["samplings"][name]


@pytest.mark.parametrize(
    ("name", "augment"),
    [
        ("batches", TrainAugment(crop=56, mean="none", jitter="off")),
        ("resized batches", RandomResizedCrop(crop=56, mean="none", std="none")),
    ],
)
def test_five_batches_never_change(name: str, augment: Augmentation, draw_shards: Any) -> None:
    folder = draw_shards(format="raw", draw=count_image)
    with Loader(folder, batch_size=8, augment=augment, dtype=torch.uint8, seed=42) as loader:
        batches = list(loader)
    digests = [
        hashlib.sha256(batch.images.numpy().tobytes() + batch.labels.numpy().tobytes()).hexdigest() for batch in batches
    ]
    assert digests == GOLDEN[name]
