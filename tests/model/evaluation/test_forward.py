"""Probabilities of every view, and features of hidden layers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from alexkit.model import Network, Switches, features, wiring
from alexkit.model.evaluation.forward import predict
from alexkit.pipeline import CenterCrop, Loader, TenViews


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


def test_features_are_what_the_next_layer_reads_by_image_index(draw_shards: Callable[..., Path]) -> None:
    folder = draw_shards(num_samples=5, num_classes=4, size_px=32)
    network = Network(wiring(Switches(kind="cifar10-19")), 4).eval()
    with Loader(folder, batch_size=2, augment=CenterCrop(crop=32)) as loader:
        found = features(network, loader, "conv3", dtype=np.float32)
        last = features(network, loader)
        (whole,) = Loader(folder, batch_size=5, augment=CenterCrop(crop=32))
    with torch.no_grad():
        conv3 = nn.Sequential(*[m for stage in network.stages[:3] for m in (stage.weights, *stage.operations)])
        expected = conv3(whole.images).flatten(1).numpy()
    assert found.shape == (5, 1024) and np.allclose(found[whole.indices.numpy()], expected, atol=1e-5)
    assert last.dtype == np.float16 and np.allclose(last, found, rtol=1e-3, atol=1e-3)
    with Loader(folder, batch_size=2, augment=CenterCrop(crop=32)) as loader:
        for name in ("fc10", "fc7"):
            with pytest.raises(
                ValueError, match=f"'{name}': not a hidden layer of this network; choose from conv1, conv2, conv3"
            ):
                features(network, loader, name)


def test_evaluation_computes_the_last_layer_in_float32() -> None:
    """In bfloat16 thousands of logits would round to equal numbers; seen as logits that bfloat16 cannot hold."""
    network = Network(wiring(Switches(kind="cifar10-19")), 10).eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 50
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())
