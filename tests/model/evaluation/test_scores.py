import math

import pytest
import torch

from alexkit.model.evaluation.scores import Score, score


def test_first_and_fifth_guesses_are_counted() -> None:
    probabilities = torch.tensor([[0.3, 0.25, 0.2, 0.15, 0.06, 0.04]]).repeat(6, 1)
    result = score(probabilities, torch.arange(6))
    assert (result.num_images, result.wrong_1, result.wrong_5) == (6, 5, 1)
    assert result.loss == pytest.approx(-sum(map(math.log, [0.3, 0.25, 0.2, 0.15, 0.06, 0.04])) / 6, rel=1e-6)


def test_classes_that_tie_share_the_credit_as_in_the_released_code() -> None:
    result = score(torch.full((4, 10), 0.1), torch.arange(4))
    assert result.wrong_1 == pytest.approx(4 * 9 / 10) and result.wrong_5 == pytest.approx(4 * 5 / 10)
    # Two classes are more probable, the label ties with two others for the ranks 3, 4 and 5: all fit into five.
    tied = torch.tensor([[0.3, 0.3, 0.1, 0.1, 0.1, 0.05, 0.05]])
    assert score(tied, torch.tensor([2])).wrong_5 == 0 and score(tied, torch.tensor([2])).wrong_1 == 1
    assert score(tied, torch.tensor([0])).wrong_1 == pytest.approx(0.5)
    # One slot of five is left for the two that tie.
    last = torch.tensor([[0.3, 0.2, 0.15, 0.12, 0.09, 0.09, 0.05]])
    assert score(last, torch.tensor([5])).wrong_5 == pytest.approx(0.5)


@pytest.mark.parametrize("label", [0, 1])
def test_nan_counts_against_the_label(label: int) -> None:
    result = score(torch.tensor([[math.nan, 0.5]]).repeat(4, 5), torch.full((4,), label))
    assert (result.wrong_1, result.wrong_5) == (4, 4)


def test_with_fewer_than_five_classes_the_label_is_always_among_five() -> None:
    assert score(torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([2])).wrong_5 == 0


def test_scores_of_two_halves_add_up_to_the_score_of_the_whole() -> None:
    probabilities, labels = torch.rand(20, 10, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10
    halves = score(probabilities[:7], labels[:7]) + score(probabilities[7:], labels[7:])
    whole = score(probabilities, labels)
    assert (halves.wrong_1, halves.wrong_5, halves.num_images) == (whole.wrong_1, whole.wrong_5, whole.num_images)
    assert halves.loss == pytest.approx(whole.loss)


def test_a_vanished_probability_leaves_a_finite_loss() -> None:
    assert math.isfinite(score(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).loss)


def test_error_rates_are_shares() -> None:
    result = Score(num_images=8, wrong_1=4, wrong_5=2, loss_sum=16.0)
    assert result.rates(num_classes=6) == {"loss": 2.0, "top1_error": 0.5, "top5_error": 0.25}
    assert result.rates(num_classes=5) == {"loss": 2.0, "top1_error": 0.5}  # the label is always among five
