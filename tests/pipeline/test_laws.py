"""The laws of every option together: restarts at any step and the number of replicas change no global batch.

Each case is one augmentation, one sampling and one order. The quick tests take a cross-section in which every option
occurs; the slow ones take all combinations, and every state to every number of replicas.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from alexkit.pipeline import (
    Batch,
    ClassBalanced,
    ColorJitter,
    Loader,
    Mix,
    Mixed,
    RandomErasing,
    RandomResizedCrop,
    Subset,
    TrainAugment,
    Weighted,
)

GLOBAL_BATCH = 12
COLOR = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
AUGMENTS: dict[str, dict[str, Any]] = {
    "crop": {"augment": TrainAugment(crop=56)},
    "group32": {"augment": TrainAugment(crop=56, crop_draw="group32", jitter="original", mean="crop")},
    "resized": {"augment": RandomResizedCrop(crop=(40, 48))},
    "color": {"augment": TrainAugment(crop=56, color=COLOR, grayscale=0.3, erasing=RandomErasing())},
    "operators": {"augment": TrainAugment(crop=56), "operators": lambda x, random: x + random.uniform(0.0, 9.0)},
    "mix": {"augment": RandomResizedCrop(crop=48, color=COLOR), "mix": Mix(mixup=0.4, cutmix=1.0)},
}
SAMPLINGS: dict[str, dict[str, Any]] = {
    "all": {},
    "tail": {"drop_last": False},
    "subset": {"sampling": Subset(indices=[*range(1, 40, 2), 0, 2, 4, 6, 8])},
    "balanced": {"sampling": ClassBalanced()},
    "weighted": {"sampling": Weighted(weights=[1 + i % 5 for i in range(40)])},
    "mixed": {"sampling": Mixed(weights=[3, 1])},
}
ORDERS = ("full", "window", "shards")
# With a sampling, only the full order makes sense; others are refused.
CASES = [
    (augment, sampling, order)
    for augment, sampling, order in itertools.product(AUGMENTS, SAMPLINGS, ORDERS)
    if order == "full" or "sampling" not in SAMPLINGS[sampling]
]
# A diagonal, and the other orders.
QUICK = [(augment, sampling, "full") for augment, sampling in zip(AUGMENTS, SAMPLINGS, strict=True)]
QUICK += [("crop", "tail", "window"), ("group32", "all", "shards")]


def taken(loader: Loader, num_batches: int) -> list[Batch]:
    """This many batches from the loader's position, across ends of epochs."""
    batches: list[Batch] = []
    while len(batches) < num_batches:
        batches += itertools.islice(loader, num_batches - len(batches))
    return batches


def assert_same(whole: Batch, part: Batch, replica: int, num_replicas: int) -> None:
    rows = slice(replica, None, num_replicas)
    assert torch.equal(part.indices, whole.indices[rows]) and torch.equal(part.mask, whole.mask[rows])
    assert part.keys == whole.keys[rows]
    # Mixing is one torch expression over a batch; in a smaller batch, its vectorized loops end elsewhere.
    tolerance = 1e-3 if part.labels.ndim == 2 and num_replicas > 1 else 0
    assert torch.allclose(part.labels, whole.labels[rows], rtol=0, atol=tolerance)
    assert torch.allclose(part.images, whole.images[rows], rtol=0, atol=tolerance)


def check_laws(folder: Path, augment: str, sampling: str, order: str, *, moves: int) -> None:
    """Stop at each step of two epochs, and resume as one of 1, 2 or 3 replicas: `moves` of these per step."""
    options = {**AUGMENTS[augment], **SAMPLINGS[sampling], "order": order, "seed": 7, "num_threads": 1}
    source: Any = [folder, folder] if sampling == "mixed" else folder
    with Loader(source, batch_size=GLOBAL_BATCH, **options) as loader:
        num_batches = 2 * len(loader) + 1
        states, whole = [], []
        for _ in range(num_batches):
            states.append(json.dumps(loader.state_dict()))
            whole += taken(loader, 1)
    assert any(not torch.equal(a.indices, b.indices) for a, b in zip(whole, whole[len(whole) // 2 :], strict=False))
    for step, state in enumerate(states):
        for num_replicas in {1 + (step + move) % 3 for move in range(moves)}:
            replica = step // 3 % num_replicas
            placed = {"batch_size": GLOBAL_BATCH // num_replicas, "replica": replica, "num_replicas": num_replicas}
            with Loader(source, **placed, **options) as part:
                part.load_state_dict(json.loads(state))
                expected = whole[step : step + 2]
                for a, b in zip(expected, taken(part, len(expected)), strict=True):
                    assert_same(a, b, replica, num_replicas)


@pytest.mark.parametrize(("augment", "sampling", "order"), QUICK)
def test_restarts_and_replicas_change_no_global_batch(
    draw_shards: Any, augment: str, sampling: str, order: str
) -> None:
    check_laws(draw_shards(), augment, sampling, order, moves=1)


@pytest.mark.slow
@pytest.mark.parametrize(("augment", "sampling", "order"), CASES)
def test_all_combinations_keep_the_laws(draw_shards: Any, augment: str, sampling: str, order: str) -> None:
    check_laws(draw_shards(), augment, sampling, order, moves=3)
