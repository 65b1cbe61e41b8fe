"""Searched weights are the best there are, and are judged on images that the search has not seen."""

import numpy as np
import pytest

from alexkit.model.evaluation.weight_search import cross_fitted_weights, search_weights


def own(members: int, images: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.01, 1, (members, images)).astype(np.float32)


def test_no_other_weights_make_the_labels_more_probable() -> None:
    p = own(3, 500) * np.array([[1.0], [0.9], [0.3]], np.float32)
    best = search_weights(p)
    assert best.sum() == pytest.approx(1) and (best >= 0).all()
    loss = -np.log(best @ p).mean()
    rng = np.random.default_rng(1)
    for _ in range(300):
        other = np.abs(best + rng.normal(0, 0.05, 3))
        assert -np.log(other / other.sum() @ p).mean() >= loss - 1e-7


def test_weights_are_right_to_the_digits_that_are_printed() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, (2, 200))
    p = np.clip(own(1, 200) + noise, 0.01, 1)  # networks that mostly agree, so that the maximum is flat
    shares = np.linspace(0, 1, 100_001)
    losses = [-np.log(share * p[0] + (1 - share) * p[1]).mean() for share in shares]
    assert search_weights(p)[0] == pytest.approx(shares[np.argmin(losses)], abs=2e-4)


def test_a_network_that_is_always_worse_gets_no_weight() -> None:
    p = own(1, 200)
    assert search_weights(np.concatenate([p, 0.1 * p])) == pytest.approx([1, 0], abs=1e-3)


def test_labels_on_every_second_image_are_halved_too() -> None:
    p, rows = own(2, 20), np.arange(0, 40, 2)
    weights = cross_fitted_weights(p, 40, rows)
    assert np.isfinite(weights).all()
    assert np.allclose(weights[:, 0], search_weights(p[:, 1::2])) and np.allclose(
        weights[:, 2], search_weights(p[:, ::2])
    )


def test_each_half_is_weighed_by_the_other() -> None:
    p, rows = own(2, 40), np.arange(0, 80, 2) // 2 * 2 + np.arange(40) % 2  # labeled images of both halves
    weights = cross_fitted_weights(p, 81, rows)
    assert weights.shape == (2, 81)
    assert np.allclose(weights[:, 0], search_weights(p[:, rows % 2 == 1]))
    assert np.allclose(weights[:, 1], search_weights(p[:, rows % 2 == 0]))
    changed = p.copy()
    changed[:, rows % 2 == 0] = changed[::-1, rows % 2 == 0]
    assert np.array_equal(cross_fitted_weights(changed, 81, rows)[:, 0], weights[:, 0])
