"""The whole network against one that shares no code with it: written from the paper in plain torch, in float64.

`test_independent` does the same for a CIFAR-10 network, and for every table of an evaluation.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from alexkit.model import Network, evaluate, load_network, load_recipe, wiring

from .test_independent import probabilities_of, read_split

sklearn_metrics = pytest.importorskip("sklearn.metrics")
pytestmark = pytest.mark.slow

NUM_IMAGES, NUM_CLASSES, PX, CROP = 7, 7, 256, 224


@pytest.fixture(scope="module")
def folder(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 256 px and random weights under which activations reach both ends of the normalization."""
    folder = tmp_path_factory.mktemp("independent")
    options = {"size_px": PX, "num_classes": NUM_CLASSES, "format": "png"}
    (folder / "train").symlink_to(draw_shards(num_samples=NUM_CLASSES, **options))
    (folder / "val").symlink_to(draw_shards(num_samples=NUM_IMAGES, split="val", **options))
    network = Network(wiring(load_recipe("paper").network), NUM_CLASSES)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for size in network.sizes:
            network.get_parameter(f"{size.name}.weight").normal_(0, (2 / size.inputs) ** 0.5, generator=generator)
            network.get_parameter(f"{size.name}.bias").normal_(0, 0.5, generator=generator)
        network.get_parameter("fc8.weight").mul_(0.05)  # so that probabilities are neither all alike nor all 0 and 1
    save_file({name: x.contiguous() for name, x in network.state_dict().items()}, folder / "w.safetensors")
    return folder


def across_maps(x: Tensor, factor: float) -> Tensor:
    """Section 3.3: n = 5 adjacent maps of one column, cut at its ends; k = 2 and beta = 0.75."""
    columns = []
    for a in x.chunk(2, dim=1):
        sums = [(a[:, max(0, i - 2) : i + 3] ** 2).sum(1) for i in range(a.shape[1])]
        columns.append(a / (2 + factor * torch.stack(sums, 1)) ** 0.75)
    return torch.cat(columns, 1)


def within_maps(a: Tensor) -> Tensor:
    """The released code's unpublished second step: 5 x 5 windows of each map, factor 0.001 / 25 and k = 1."""
    padded = F.pad(a**2, (2, 2, 2, 2))
    height, width = a.shape[2:]
    sums = sum(padded[:, :, i : i + height, j : j + width] for i in range(5) for j in range(5))
    return a / (1 + 0.001 / 25 * sums) ** 0.75


def pool(x: Tensor) -> Tensor:
    """Section 3.4: windows of 3 x 3 that overlap by one."""
    return F.max_pool2d(x, 3, 2)


def alexnet(w: dict[str, Tensor], x: Tensor, *, recipe: str) -> Tensor:
    """Logits (B, classes) of crops (B, 3, 224, 224), by Figure 2 or, for `original`, by layers-145.cfg."""

    def own_column(x: Tensor, name: str, pad: int) -> Tensor:
        halves = zip(x.chunk(2, 1), w[f"{name}.weight"].chunk(2), w[f"{name}.bias"].chunk(2), strict=True)
        return torch.cat([F.conv2d(half, weight, bias, padding=pad) for half, weight, bias in halves], 1)

    def full(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = F.conv2d(F.pad(x, (0, 3, 0, 3)), w["conv1.weight"], w["conv1.bias"], stride=4)
    if recipe == "paper":
        x = pool(across_maps(x.relu(), 1e-4))
        x = pool(across_maps(own_column(x, "conv2", 2).relu(), 1e-4))
    else:
        x = pool(across_maps(x, 1e-4 / 5)).relu()
        x = pool(within_maps(across_maps(own_column(x, "conv2", 2).relu(), 1e-4 / 5)))
    x = F.conv2d(x, w["conv3.weight"], w["conv3.bias"], padding=1).relu()
    x = own_column(x, "conv4", 1).relu()
    x = pool(own_column(x, "conv5", 1).relu())
    for name in ("fc6", "fc7"):
        x = full(x.flatten(1), name).relu() / 2  # dropout at test time: section 4.2
    return full(x, "fc8")


@pytest.mark.parametrize("recipe", ["paper", "original"])
def test_the_whole_network_gives_what_the_paper_describes(folder: Path, recipe: str) -> None:
    (folder / f"{recipe}.toml").write_text(f'base = "{recipe}"\n[training]\nprecision = "fp32"\n')
    network = load_network(folder / "w.safetensors", recipe=str(folder / f"{recipe}.toml"), shards=folder)
    result = evaluate(network, folder, views=["center", "ten"], batch_size=4)
    labels = read_split(folder / "val")[1]
    plain = functools.partial(alexnet, recipe=recipe)
    for kind, probabilities in probabilities_of(folder, CROP, plain, ("center", "ten")).items():
        found = result.rows[0].probabilities[kind]  # type: ignore[index]
        assert probabilities.max() < 0.999 and np.ptp(probabilities, axis=0).max() > 0.01
        assert np.abs(found - probabilities).max() < 2e-5
        score = result.scores[0][kind]  # type: ignore[index]
        for k, error in ((1, score.top1_error), (5, score.top5_error)):
            right = sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=range(NUM_CLASSES))
            assert error == pytest.approx(1 - right, abs=1e-12)
