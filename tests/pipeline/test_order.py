import json
from pathlib import Path

import numpy as np
import pytest

from alexkit.pipeline.order import full_order

GOLDEN = Path(__file__).with_name("golden.json")


@pytest.mark.parametrize("num_samples", [0, 1, 2, 1000, 70_001])
def test_full_order_holds_every_index_once(num_samples: int) -> None:
    assert (np.sort(full_order(3, 5, num_samples)) == np.arange(num_samples)).all()


def test_full_order_differs_between_epochs_and_seeds() -> None:
    base = full_order(0, 0, 1000)
    for seed, epoch in ((0, 1), (1, 0), (2**40, 0)):
        # Two independent permutations agree in one place on average.
        assert (full_order(seed, epoch, 1000) == base).sum() < 8


def test_full_order_is_uniform() -> None:
    # All 120 permutations of five, over 24,000 seeds: 200 of each expected.
    codes = [int("".join(map(str, full_order(seed, 1, 5)))) for seed in range(24_000)]
    counts = np.unique(codes, return_counts=True)[1]
    assert len(counts) == 120
    assert ((counts - 200.0) ** 2 / 200).sum() < 190  # 119 degrees of freedom: exceeded once in 25,000 runs


@pytest.mark.parametrize("seed", [0, 42])
def test_the_first_hundred_indices_of_imagenet_never_change(seed: int) -> None:
    assert full_order(seed, 0, 1_281_167)[:100].tolist() == json.loads(GOLDEN.read_text())["orders"][str(seed)]


def test_a_seed_beyond_64_bits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"seed must be in 0\.\.2\*\*64-1, got -1"):
        full_order(-1, 0, 10)
