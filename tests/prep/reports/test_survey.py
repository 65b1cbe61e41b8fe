"""Laws of the survey: it counts what is stored, chooses from every class, and measures mixing truly."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexkit.prep.reports.survey import distinct_classes, survey_set


def test_the_survey_counts_what_is_stored_and_shows_every_class(draw_shards: Callable[..., Path]) -> None:
    survey = survey_set(draw_shards(num_samples=18, num_classes=4), images_per_class=4)
    assert survey.counts_K.tolist() == [5, 5, 4, 4] and len(survey.index) == 18
    assert survey.shown[1] == (1, 5, 9, 13)
    assert all(survey.index.labels_N[index] == label for label, shown in enumerate(survey.shown) for index in shown)
    assert survey.class_of(6) == "class 2" and survey.thumbnail(6).size == (96, 96)


def test_the_expected_mixing_is_that_of_all_shuffles() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    orders = np.array(list(itertools.permutations(labels.tolist())))
    for length in (1, 2, 4):
        truth = np.mean([len(set(order[:length])) for order in orders.tolist()])
        counts = np.bincount(labels)
        missing = np.ones(3)
        for drawn in range(length):
            missing *= np.maximum(6 - counts - drawn, 0) / (6 - drawn)
        assert (1 - missing).sum() == pytest.approx(truth)


def test_unshuffled_samples_show_as_badly_mixed() -> None:
    labels = np.repeat(np.arange(100), 100)
    mean, ideal = distinct_classes(labels, np.bincount(labels))
    shuffled_mean, _ = distinct_classes(np.random.default_rng(0).permutation(labels), np.bincount(labels))
    assert mean < 3 and ideal == pytest.approx(shuffled_mean, abs=1.5) and ideal > 70


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    assert distinct_classes(np.array([0, 1, 1]), np.array([1, 2])) == (2.0, pytest.approx(2.0))
