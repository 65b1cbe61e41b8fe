"""Intervals, calibration and tables at their edges; `test_independent` holds them to scikit-learn."""

import numpy as np
import pytest

from alexkit.model.evaluation.metrics import Calibration, ClassRates, confused_pairs, confusion_matrix, wilson_interval


@pytest.mark.parametrize(
    ("wrong", "total", "low", "high"),
    # Wilson (1927), as statsmodels' proportion_confint(method="wilson") prints them.
    [(0, 10, 0.0, 0.277533), (5, 10, 0.236593, 0.763407), (10, 10, 0.722467, 1.0), (20350, 50000, 0.402702, 0.411312)],
)
def test_wilson_intervals(wrong: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(wrong, total) == pytest.approx((low, high), abs=2e-6)


def test_of_no_images_the_interval_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_a_network_that_is_as_sure_as_it_is_right_has_no_calibration_error() -> None:
    right = np.array([True, True, True, False])
    assert Calibration.of(np.full(4, 0.75), right).error == pytest.approx(0)
    assert Calibration.of(np.full(4, 1.0), right).error == pytest.approx(0.25)


def test_classes_without_images_or_guesses_have_no_rates() -> None:
    labels, guesses = np.array([0, 0, 1]), np.array([0, 1, 1])
    confusion = confusion_matrix(labels, guesses, 4)
    rates = ClassRates.of(confusion, labels, np.array([0.5, 0.1, 0.9]))
    assert rates.recall_C[:2].tolist() == [0.5, 1.0] and np.isnan(rates.recall_C[2:]).all()
    assert rates.precision_C[:2].tolist() == [1.0, 0.5] and np.isnan(rates.precision_C[2:]).all()
    assert rates.confidence_C[:2] == pytest.approx([0.3, 0.9])
    assert confused_pairs(confusion).tolist() == [[0, 1, 1]]
