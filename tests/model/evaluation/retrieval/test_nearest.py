"""Neighbors are exact, whatever the blocks."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from alexkit.model.evaluation.retrieval import hamming_nearest, nearest, recall

module = importlib.import_module("alexkit.model.evaluation.retrieval.nearest")


@pytest.mark.parametrize("small_blocks", [False, True])
def test_neighbors_are_those_of_a_full_table_of_distances(
    small_blocks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small_blocks:
        monkeypatch.setattr(module, "BLOCK_BYTES", 4 * 40 * 30)
        monkeypatch.setattr(module, "QUERY_ROWS", 7)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "base.npy", rng.normal(size=(300, 40)).astype(np.float16))
    base = np.load(tmp_path / "base.npy", mmap_mode="r")
    queries = rng.normal(size=(20, 40)).astype(np.float32)
    distances, rows = nearest(base, queries, 6)
    table = np.linalg.norm(queries[:, None].astype(np.float64) - np.asarray(base, np.float64)[None], axis=2)
    assert np.array_equal(rows, table.argsort(1)[:, :6])
    assert np.allclose(distances, np.sort(table, 1)[:, :6], rtol=1e-4)
    codes, wanted = rng.integers(0, 256, (300, 8), np.uint8), rng.integers(0, 256, (20, 8), np.uint8)
    found, rows = hamming_nearest(codes, wanted, 5)
    table = np.bitwise_count(wanted[:, None] ^ codes[None]).sum(2)
    assert np.array_equal(found, np.sort(table, 1)[:, :5])
    assert np.array_equal(np.take_along_axis(table, rows, 1), found)


def test_fewer_images_than_neighbors_and_features_of_another_length() -> None:
    base = np.eye(3, dtype=np.float32)
    assert nearest(base, base, 9)[1].shape == (3, 3)
    with pytest.raises(ValueError, match="features of 3 and 2 units cannot be compared"):
        nearest(base, base[:, :2], 1)
    with pytest.raises(ValueError, match="codes of 2 and 1 bytes"):
        hamming_nearest(np.zeros((1, 2), np.uint8), np.zeros((1, 1), np.uint8), 1)


def test_recall_counts_exact_answers_that_are_found() -> None:
    assert recall(np.array([[1, 2, 3], [4, 5, 6]]), np.array([[3, 9], [4, 6]])) == 0.75
