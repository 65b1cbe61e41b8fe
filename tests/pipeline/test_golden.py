"""Stored values: no version of this project, of NumPy or of DALI may change what a seed means."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexkit.pipeline import Loader, TrainAugment
from alexkit.pipeline.epochs.draws import draw

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


def test_five_batches_never_change(draw_shards: Any) -> None:
    folder = draw_shards(format="raw", draw=count_image)
    augment = TrainAugment(crop=56, mean="none", jitter="off")
    with Loader(folder, batch_size=8, augment=augment, dtype=torch.uint8, seed=42) as loader:
        batches = list(loader)
    digests = [
        hashlib.sha256(batch.images.numpy().tobytes() + batch.labels.numpy().tobytes()).hexdigest() for batch in batches
    ]
    assert digests == GOLDEN["batches"]
