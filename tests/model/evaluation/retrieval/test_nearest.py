"""Neighbors are exact, whatever the blocks and whatever is ruled out by bounds."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alexkit.model.evaluation.retrieval import bounded, bounds, hamming_nearest, nearest, recall

search = importlib.import_module("alexkit.model.evaluation.retrieval.nearest")  # the function has its name


def features(kind: str, number: int, units: int, seed: int) -> NDArray[np.float16]:
    """Features that vary alike in all directions, or like those of a network: above 0, mostly in few directions."""
    rng = np.random.default_rng(seed)
    if kind == "even":
        return rng.normal(size=(number, units)).astype(np.float16)
    few = np.random.default_rng(1).normal(size=(12, units))
    return (np.maximum(rng.normal(size=(number, 12)) @ few, 0) + 0.1 * rng.random((number, units))).astype(np.float16)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, and bounds by few directions even for few queries."""
    for module in (bounded, search):
        monkeypatch.setattr(module, "BLOCK_BYTES", 4 * 64 * 30)
        monkeypatch.setattr(module, "QUERY_ROWS", 7)
    monkeypatch.setattr(bounded, "FEW_QUERIES", 1)
    monkeypatch.setattr(bounds, "DIRECTIONS", 12)


def expected(base: NDArray[np.floating], queries: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """By a table of all distances in float64; of equal ones the lowest row first."""
    table = np.linalg.norm(np.asarray(queries, np.float64)[:, None] - np.asarray(base, np.float64)[None], axis=2)
    rows: NDArray[np.int64] = table.argsort(1, kind="stable")[:, :k]
    return rows


@pytest.mark.parametrize("kind", ["even", "few directions"])
def test_neighbors_are_those_of_a_full_table_of_distances(kind: str, small: None, tmp_path: Path) -> None:
    np.save(tmp_path / "base.npy", features(kind, 300, 64, seed=2))
    base = np.load(tmp_path / "base.npy", mmap_mode="r")
    queries = np.concatenate([features(kind, 19, 64, seed=3), base[::40]]).astype(np.float32)
    distances, rows = nearest(base, queries, 6)
    assert np.array_equal(rows, expected(base, queries, 6))
    table = np.linalg.norm(queries[:, None].astype(np.float64) - np.asarray(base, np.float64)[rows], axis=2)
    assert np.allclose(distances, table, rtol=1e-6)
    assert not distances[19:, 0].any()  # images that the base holds are at distance 0, exactly
    whole = nearest(base, queries[:4], 6)
    assert np.array_equal(whole[1], rows[:4]) and np.array_equal(whole[0], distances[:4])


def test_blocks_of_the_usual_size_give_the_same(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    base, queries = features("few directions", 500, 64, seed=2), features("few directions", 40, 64, seed=3)
    in_small = nearest(base, queries, 5)
    monkeypatch.undo()
    usual = nearest(base, queries, 5)
    assert all(np.array_equal(a, b) for a, b in zip(in_small, usual, strict=True))


def test_rows_at_the_same_distance_come_in_their_own_order(small: None) -> None:
    base = np.tile(features("few directions", 20, 64, seed=2), (5, 1))
    rows = nearest(base, base[3:5], 5)[1]
    assert rows.tolist() == [[3, 23, 43, 63, 83], [4, 24, 44, 64, 84]]


@pytest.mark.parametrize("offset", [0, 300])
@pytest.mark.parametrize("scale", [1e-3, 1, 100])
def test_bounds_hold_and_rule_most_out_where_features_vary_in_few_directions(offset: float, scale: float) -> None:
    units = 4 * bounds.DIRECTIONS + 7
    base = scale * features("few directions", 600, units, seed=2).astype(np.float32) + np.float32(offset)
    queries = scale * features("few directions", 50, units, seed=3).astype(np.float32) + np.float32(offset)
    exact = np.square(queries[:, None].astype(np.float64) - base[None].astype(np.float64)).sum(2)
    quick = bounds.main_directions(base)
    assert quick is not None
    for one in (quick, bounds.all_units(base)):
        (x, own), (y, squares) = (one.coordinates(torch.from_numpy(array)) for array in (queries, base))
        product = (x.double() @ y.double().T).numpy()
        lower = (1 - one.slack) * (own[:, None].double() + squares.double()).numpy() - 2 * product
        assert (lower <= exact).all()
        limits = np.sort(exact, 1)[:, 5:6]
        assert (lower <= limits).mean() < 0.05 or scale < 1 < offset  # tiny differences drown in float32


def test_directions_are_orthonormal_also_where_features_hardly_vary() -> None:
    units = 4 * bounds.DIRECTIONS
    few = features("few directions", 600, units, seed=2)
    for base in (few, np.tile(few[:5], (120, 1))):
        quick = bounds.main_directions(base)
        assert quick is not None and quick.directions_DE is not None
        columns = quick.directions_DE.double()
        assert torch.allclose(columns.T @ columns, torch.eye(columns.shape[1], dtype=torch.float64), atol=1e-6)
        assert nearest(base, base[:3], 2)[0][:, 0].tolist() == [0, 0, 0]
    nothing = np.zeros((600, units), np.float16)
    assert bounds.main_directions(nothing) is None and nearest(nothing, nothing, 2)[1][599].tolist() == [0, 1]


def test_codes_are_found_by_their_distance(small: None) -> None:
    rng = np.random.default_rng(0)
    codes, wanted = rng.integers(0, 256, (300, 8), np.uint8), rng.integers(0, 256, (20, 8), np.uint8)
    found, rows = hamming_nearest(codes, wanted, 5)
    table = np.unpackbits(wanted[:, None] ^ codes[None], axis=2).sum(2)
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
