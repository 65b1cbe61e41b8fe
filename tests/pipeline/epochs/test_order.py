import json
from pathlib import Path

import numpy as np
import pytest

from alexkit.pipeline.epochs.order import (
    RUN_SAMPLES,
    WINDOW_SAMPLES,
    WINDOW_SHARDS,
    full_order,
    meetings,
    shards_order,
    window_order,
)

GOLDEN = Path(__file__).parent.with_name("golden.json")


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


@pytest.mark.parametrize("num_samples", [1, 63, 64, 65, 10_000, 8192 * 2, 20_001])
def test_window_order_holds_every_index_once_and_whole_runs(num_samples: int) -> None:
    order = window_order(3, 5, num_samples)
    assert (np.sort(order) == np.arange(num_samples)).all()
    if num_samples % RUN_SAMPLES == 0:
        for start in range(0, num_samples, WINDOW_SAMPLES):
            window = np.sort(order[start : start + WINDOW_SAMPLES]).reshape(-1, RUN_SAMPLES)
            assert (window[:, 0] % RUN_SAMPLES == 0).all() and (np.diff(window, axis=1) == 1).all()


def test_window_order_is_read_in_long_pieces_but_mixes_runs() -> None:
    n, batch = 400_000, 256
    uniform, window = meetings(full_order(0, 0, n), batch), meetings(window_order(0, 0, n), batch)
    stored = meetings(np.arange(n), batch)
    print(
        f"samples that meet one of their run in a batch: full {uniform:.3f}, window {window:.3f}, stored {stored:.3f}"
    )
    # By chance 1 - (1 - 63/399999)^255, and within a window 1 - (1 - 63/8191)^255.
    assert uniform == pytest.approx(0.039, abs=0.003)
    assert window == pytest.approx(0.86, abs=0.01)
    assert stored == 1


def test_window_order_differs_between_epochs_and_seeds() -> None:
    base = window_order(0, 0, 10_000)
    assert (window_order(0, 1, 10_000) == base).mean() < 0.01
    assert (window_order(1, 0, 10_000) == base).mean() < 0.01


def test_a_window_holds_other_runs_in_every_epoch() -> None:
    """Otherwise the same samples would always be trained on together, however they are shuffled within a window."""
    first = [
        set((window_order(0, epoch, 10 * WINDOW_SAMPLES)[:WINDOW_SAMPLES] // RUN_SAMPLES).tolist())
        for epoch in range(20)
    ]
    shared = [len(first[0] & other) for other in first[1:]]
    # A tenth of 128 runs on average, with a standard deviation below 4.
    assert 9 < np.mean(shared) < 17 and max(shared) < 30


def shard_starts(*sizes: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.cumsum([0, *sizes])


@pytest.mark.parametrize("sizes", [(1,), (5, 3), tuple(range(1, 40)), (100,) * 50])
def test_shards_order_holds_every_index_once_and_uses_each_shard_in_one_window(sizes: tuple[int, ...]) -> None:
    starts = shard_starts(*sizes)
    order = shards_order(3, 5, starts)
    assert (np.sort(order) == np.arange(sum(sizes))).all()
    shards = np.searchsorted(starts, order, side="right") - 1
    seen: set[int] = set()
    position = 0
    while position < len(order):
        # A window is over when all samples of its shards are out.
        window = set(list(dict.fromkeys(shards[position:].tolist()))[:WINDOW_SHARDS])
        length = sum(sizes[shard] for shard in window)
        assert set(shards[position : position + length].tolist()) == window and not window & seen
        seen |= window
        position += length
    assert len(seen) == len(sizes)


def test_shards_order_differs_between_epochs_and_seeds_and_never_changes() -> None:
    starts = shard_starts(*(100,) * 64)
    base = shards_order(0, 0, starts)
    assert (shards_order(0, 1, starts) == base).mean() < 0.01 and (shards_order(1, 0, starts) == base).mean() < 0.01
    assert shards_order(7, 2, shard_starts(3, 2, 4)).tolist() == [6, 3, 7, 4, 0, 1, 8, 2, 5]


def test_shards_order_mixes_better_than_window_order_of_shards_of_a_thousand() -> None:
    """A window of 16 shards of 1000 holds twice the samples of a window of runs."""
    batch = 256
    shards = meetings(shards_order(0, 0, shard_starts(*(1000,) * 400)), batch)
    print(f"samples that meet one of their run in a batch: shards {shards:.3f}")
    assert shards == pytest.approx(1 - (1 - 63 / 15_999) ** 255, abs=0.02)
