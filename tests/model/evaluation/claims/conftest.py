"""Shared fixtures of the tests of claims."""

from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.prep import ShardSet


@pytest.fixture
def shard_set(draw_shards: Callable[..., Path]) -> ShardSet:
    return ShardSet.open(draw_shards(num_samples=12, num_classes=3, size_px=32))
