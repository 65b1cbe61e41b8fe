import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from alexkit.model.evaluation.scores import Score, predict, score
from alexkit.pipeline import CenterCrop, Loader, TenViews


def test_first_and_fifth_guesses_are_counted() -> None:
    probabilities = torch.tensor([[0.3, 0.25, 0.2, 0.15, 0.06, 0.04]]).repeat(6, 1)
    result = score(probabilities, torch.arange(6))
    assert (result.num_images, result.wrong_1, result.wrong_5) == (6, 5, 1)
    assert result.loss == pytest.approx(-sum(map(math.log, [0.3, 0.25, 0.2, 0.15, 0.06, 0.04])) / 6, rel=1e-6)


@pytest.mark.parametrize("value", [0.1, math.nan])
def test_an_output_that_says_nothing_is_always_wrong(value: float) -> None:
    result = score(torch.full((4, 10), value), torch.arange(4))
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
    assert result.rates() == {"loss": 2.0, "top1_error": 0.5, "top5_error": 0.25}


def test_the_probabilities_of_an_image_are_the_mean_over_its_views_of_the_softmax(
    draw_shards: Callable[..., Path],
) -> None:
    folder = draw_shards(num_samples=5, num_classes=4, size_px=32)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 4)).requires_grad_(False)
    network[1].weight.normal_(0, 0.01, generator=torch.Generator().manual_seed(0))
    for augment, num_views in ((TenViews(crop=24, mean="none"), 10), (CenterCrop(crop=24, mean="none"), 1)):
        with Loader(folder, batch_size=2, augment=augment) as loader:
            expected = {}
            for batch in loader:
                views = batch.images.view(2, num_views, 3, 24, 24)
                for index, image in zip(batch.indices[batch.mask].tolist(), views[batch.mask], strict=True):
                    expected[index] = torch.stack([network(view[None])[0].softmax(0) for view in image]).mean(0)
            for batch, probabilities in predict(network, loader):
                for index, found in zip(batch.indices[batch.mask].tolist(), probabilities[batch.mask], strict=True):
                    assert torch.allclose(found, expected.pop(index), rtol=1e-4, atol=1e-6)
            assert not expected
