"""Codes keep neighbors together, better than chance and alike each time."""

import numpy as np
import pytest

from alexkit.model.evaluation.retrieval import CodeOptions, hamming_nearest, nearest, recall, train_codes


def test_codes_find_neighbors_and_are_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(20, 64)) * 3
    features = (centers[np.arange(400) % 20] + rng.normal(size=(400, 64))).astype(np.float16)
    options = CodeOptions(bits=32, hidden=48, epochs=12)
    first, second = (train_codes(features, options).encode(features) for _ in range(2))
    assert first.shape == (400, 4) and np.array_equal(first, second)
    exact = nearest(features, features[:100].astype(np.float32), 10)[1]
    found = recall(hamming_nearest(first, first[:100], 40)[1], exact)
    assert found > 0.6  # 40 of 400 drawn at random find 0.1


def test_a_code_is_whole_bytes() -> None:
    with pytest.raises(ValueError, match="--bits 12: expected a multiple of 8"):
        CodeOptions(bits=12)
