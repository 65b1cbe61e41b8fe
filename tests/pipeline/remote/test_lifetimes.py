"""Lifetimes say when an order first and last uses each shard."""

import numpy as np
import pytest

from alexkit.pipeline.epochs.order import WINDOW_SHARDS, full_order, shards_order
from alexkit.pipeline.remote import lifetimes
from alexkit.pipeline.remote.lifetimes import NEVER, Lifetimes


@pytest.mark.parametrize("rows", [3, 1000])
def test_first_and_last_use_are_those_of_a_search(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(lifetimes, "_ROWS", rows)
    starts = np.array([0, 3, 3, 10, 11, 40])  # one shard is empty
    order = full_order(1, 2, 40)[:25]
    found = Lifetimes.of(order, starts)
    for shard in range(5):
        positions = [i for i, index in enumerate(order.tolist()) if starts[shard] <= index < starts[shard + 1]]
        assert found.first_S[shard] == (min(positions) if positions else NEVER)
        assert found.last_S[shard] == (max(positions) if positions else -1)


def test_wanted_shards_are_the_next_ones_in_the_order_of_their_use() -> None:
    starts = np.arange(0, 401, 10)
    order = shards_order(0, 0, starts)
    found = Lifetimes.of(order, starts)
    shards = np.searchsorted(starts, order, side="right") - 1
    windows = [set(shards[i : i + 160].tolist()) for i in range(0, 400, 160)]
    assert set(found.wanted(0, WINDOW_SHARDS)) == windows[0]
    assert set(found.wanted(160, WINDOW_SHARDS)) == windows[1]
    assert set(found.wanted(0, 2 * WINDOW_SHARDS)) == windows[0] | windows[1]
    assert set(found.wanted(320, 100)) == windows[2] and found.wanted(400, 100) == []
