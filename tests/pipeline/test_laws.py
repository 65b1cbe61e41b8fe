"""The laws of batches for every combination of augmentation, sampling and order.

A global batch is a function of (seed, step): as many replicas as there are make up the same batches, and a state taken
after any step continues with the very next batch, also on another number of replicas. The samples of an epoch are those
that the sampling says, whatever the order.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from alexkit.errors import InputError
from alexkit.pipeline import (
    Augmentation,
    Batch,
    ClassBalanced,
    ColorJitter,
    Loader,
    Mixed,
    RandomErasing,
    RandomResizedCrop,
    Subset,
    TrainAugment,
    Weighted,
)
from alexkit.pipeline.epochs.sampling import Sampling

EPOCHS = 2
GLOBAL_BATCH = 8
REPLICAS = (1, 2, 4)

AUGMENTATIONS: dict[str, Augmentation] = {
    "crops": TrainAugment(crop=24, jitter="paper"),
    "group32": TrainAugment(crop=(24, 20), crop_draw="group32", std="imagenet", mean="imagenet"),
    "boxes": RandomResizedCrop(
        crop=24,
        color=ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
        grayscale=0.3,
        erasing=RandomErasing(),
    ),
}
SAMPLINGS: dict[str, Sampling | None] = {
    "all": None,
    "subset": Subset(where=lambda labels: labels != 2),
    "balanced": ClassBalanced(num_samples=40),
    "weighted": Weighted(weights=[1.0, 0.0, 3.0, 0.5] * 12),
    "mixed": Mixed(weights=[1.0, 2.0]),
}
ORDERS = ("full", "window", "shards", "fixed")
# A sampling takes samples as it draws them, so that it goes with the full order alone; any other is refused.
SEQUENCES = [("all", order) for order in ORDERS] + [(name, "full") for name in SAMPLINGS if name != "all"]
CELLS = [(augment, *sequence) for augment in AUGMENTATIONS for sequence in SEQUENCES]


@pytest.fixture
def open_loader(draw_shards: Any) -> Callable[..., Loader]:
    def folder(num_samples: int) -> Path:
        return draw_shards(num_samples=num_samples, size_px=32, samples_per_shard=8, format="raw")  # type: ignore[no-any-return]

    def open_one(cell: tuple[str, str, str], replica: int = 0, num_replicas: int = 1) -> Loader:
        augment, sampling, order = cell
        return Loader(
            [folder(32), folder(16)] if sampling == "mixed" else folder(48),
            batch_size=GLOBAL_BATCH // num_replicas,
            augment=AUGMENTATIONS[augment],
            sampling=SAMPLINGS[sampling],
            order=order,  # type: ignore[arg-type]
            seed=11,
            replica=replica,
            num_replicas=num_replicas,
        )

    return open_one


def batches_of(loader: Loader) -> list[Batch]:
    """All to the end of the last epoch."""
    return [batch for _ in range(EPOCHS - loader.epoch) for batch in loader]


def globally(parts: list[list[Batch]]) -> list[tuple[torch.Tensor, ...]]:
    """Global batches put together: row b of replica r of R is row b * R + r."""
    joined = []
    for batches in zip(*parts, strict=True):
        rows = [(batch.images, batch.labels, batch.indices, batch.mask) for batch in batches]
        joined.append(tuple(torch.stack(field, 1).flatten(0, 1) for field in zip(*rows, strict=True)))
    return joined


def assert_same(found: list[tuple[torch.Tensor, ...]], expected: list[tuple[torch.Tensor, ...]]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_batches_depend_on_seed_and_step_alone(cell: tuple[str, str, str], open_loader: Callable[..., Loader]) -> None:
    with open_loader(cell) as loader:
        whole = globally([batches_of(loader)])
        steps_an_epoch = len(loader)
    assert len(whole) == EPOCHS * steps_an_epoch >= 2

    states = []
    for num_replicas in REPLICAS:
        parts = []
        for replica in range(num_replicas):
            with open_loader(cell, replica, num_replicas) as loader:
                part = []
                for _ in range(EPOCHS):
                    for batch in loader:
                        part.append(batch)
                        if num_replicas == 2 and replica == 1:
                            states.append(json.dumps(loader.state_dict()))
                parts.append(part)
        assert_same(globally(parts), whole)

    # States of one of two replicas, continued by one alone and by one of four.
    assert len(states) == len(whole)
    for num_replicas in (1, 4):
        with open_loader(cell, 0, num_replicas) as loader:
            for step, state in enumerate(states, 1):
                loader.load_state_dict(json.loads(state))
                rest = [batch.images for batch in batches_of(loader)]
                assert len(rest) == len(whole) - step
                for images, (expected, *_) in zip(rest, whole[step:], strict=True):
                    assert torch.equal(images, expected[::num_replicas])


@pytest.mark.parametrize(("sampling", "order"), SEQUENCES)
def test_an_epoch_holds_what_its_sampling_says(sampling: str, order: str, open_loader: Callable[..., Loader]) -> None:
    with open_loader(("crops", sampling, order)) as loader:
        epochs = [list(loader) for _ in range(EPOCHS)]
    for epoch in epochs:
        indices = torch.cat([batch.indices for batch in epoch]).tolist()
        labels = Counter(torch.cat([batch.labels for batch in epoch]).tolist())
        if sampling == "all":
            assert sorted(indices) == list(range(48))
        elif sampling == "subset":
            assert len(set(indices)) == len(indices) and labels[2] == 0
        elif sampling == "balanced":
            assert labels == {0: 10, 1: 10, 2: 10, 3: 10}
        elif sampling == "weighted":
            assert labels[1] == 0 and labels[2] > labels[0] > labels[3]
        else:
            assert sum(index < 32 for index in indices) == 16 and len(indices) == 48
    orders = [[batch.indices.tolist() for batch in epoch] for epoch in epochs]
    assert (orders[0] == orders[1]) == (order == "fixed")


@pytest.mark.parametrize("order", ORDERS[1:])
def test_a_sampling_with_an_order_of_its_own_is_refused(order: str, open_loader: Callable[..., Loader]) -> None:
    with pytest.raises(InputError, match=f"order='{order}' takes samples as they are stored; choose order='full'"):
        open_loader(("crops", "balanced", order))
