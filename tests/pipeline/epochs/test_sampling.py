"""Every sampling is a pure function of (seed, epoch), has the right proportions and is the same for all replicas."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alexkit.pipeline import CenterCrop, ClassBalanced, Custom, Loader, Mixed, Subset, TrainAugment, Weighted
from alexkit.pipeline.epochs.proportions import totals
from alexkit.prep import ShardSet

from ...conftest import write_shard_set

TRAIN = TrainAugment(crop=48)


def indices(loader: Any) -> list[int]:
    return [index for batch in loader for index in batch.indices[batch.mask].tolist()]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty samples: 30 of class 0 and 10 of class 1."""
    folder = tmp_path_factory.mktemp("uneven") / "set"
    return write_shard_set(folder, num_classes=2, label_of=lambda i: int(i % 4 == 0))


@pytest.mark.parametrize(
    "subset",
    [
        Subset(indices=[31, 3, 5, 7, 11, 13, 17, 19]),
        Subset(indices=np.arange(40) % 5 == 0),
        Subset(where=lambda labels: labels == 2),
        Subset(where=lambda labels: labels < 2, limit=8),
    ],
)
def test_a_subset_gives_its_samples_and_no_others(draw_shards: Any, subset: Subset) -> None:
    allowed = subset.drawn(np.arange(40) % 4, np.array([0, 40])).allowed
    assert allowed is not None
    with Loader(draw_shards(), batch_size=2, augment=TRAIN, sampling=subset) as loader:
        assert loader.num_samples == len(allowed)
        first, second = indices(loader), indices(loader)
        assert first != second and sorted(first) == sorted(second) == allowed.tolist()
    with Loader(draw_shards(), batch_size=3, augment=CenterCrop(crop=48), sampling=subset) as loader:
        assert indices(loader) == indices(loader) == allowed.tolist()


def test_classes_come_equally_often(uneven: Path) -> None:
    with Loader(uneven, batch_size=8, augment=TRAIN, sampling=ClassBalanced()) as loader:
        seen = []
        for _ in range(3):
            labels = torch.cat([batch.labels for batch in loader])
            assert labels.bincount().tolist() == [20, 20]
        for _ in range(3):
            seen += indices(loader)
    counts = np.bincount(seen, minlength=40)
    # 60 draws of 30 samples, and 60 of 10: walked through evenly.
    assert set(counts[np.arange(40) % 4 != 0]) == {2} and set(counts[::4]) == {6}


def test_repetitions_within_an_epoch_are_augmented_differently(uneven: Path) -> None:
    augment = TrainAugment(crop=32, mean="none", jitter="off")
    with Loader(uneven, batch_size=40, augment=augment, sampling=ClassBalanced()) as loader:
        batch = next(iter(loader))
    repeated = int(batch.indices.bincount().argmax())
    rows = batch.images[batch.indices == repeated]
    assert len(rows) >= 2 and not torch.equal(rows[0], rows[1])


def test_weights_are_relative_probabilities(draw_shards: Any) -> None:
    weights = np.where(np.arange(40) % 4 == 1, 3.0, np.where(np.arange(40) % 4 == 2, 1.0, 0.0))
    sampling = Weighted(weights=weights, num_samples=4000)
    with Loader(draw_shards(format="raw"), batch_size=400, augment=TRAIN, sampling=sampling) as loader:
        labels = torch.cat([batch.labels for batch in loader])
    counts = labels.bincount(minlength=4)
    assert counts[0] == counts[3] == 0 and abs(counts[1].item() - 3000) < 120


def test_sets_are_mixed_in_proportion_and_resume(draw_shards: Any) -> None:
    folders = [draw_shards(), draw_shards(num_samples=24)]
    sampling = Mixed(weights=[1, 3], num_samples=48)
    with Loader(folders, batch_size=12, augment=TRAIN, sampling=sampling) as loader:
        whole = [batch for _ in range(2) for batch in loader]
        for epoch in (0, 1):
            seen = torch.cat([batch.indices for batch in whole[4 * epoch : 4 * epoch + 4]])
            assert (seen < 40).sum() == 12 and (seen >= 40).sum() == 36
        assert whole[0].keys == [f"sample-{i if i < 40 else i - 40:04d}" for i in whole[0].indices.tolist()]
        loader.set_epoch(0)
        next(iter(loader))
        state = loader.state_dict()
    with Loader(folders, batch_size=12, augment=TRAIN, sampling=sampling) as again:
        again.load_state_dict(state)
        assert torch.equal(next(iter(again)).images, whole[1].images)
    with (
        Loader(folders, batch_size=12, augment=TRAIN) as plain,
        pytest.raises(ValueError, match="num_samples is 48"),
    ):
        plain.load_state_dict(state)
    with pytest.raises(ValueError, match="stores 32 px"):
        Loader([draw_shards(), draw_shards(size_px=32)], batch_size=4, augment=TrainAugment(crop=16))


def in_pairs(seed: int, epoch: int) -> Any:
    """Six samples and then the same six, for batches of 12 with two views of each."""
    rows = np.random.default_rng([seed, epoch]).permutation(40)[:36].reshape(-1, 6)
    return np.hstack([rows, rows]).ravel()


@pytest.mark.parametrize("num_replicas", [1, 2, 3])
def test_two_views_of_a_sample_are_rows_of_one_batch(draw_shards: Any, num_replicas: int) -> None:
    augment = TrainAugment(crop=32, mean="none", jitter="off")
    expected = [in_pairs(5, epoch).reshape(6, 12) for epoch in range(2)]
    for replica in range(num_replicas):
        with Loader(
            draw_shards(),
            batch_size=12 // num_replicas,
            replica=replica,
            num_replicas=num_replicas,
            augment=augment,
            sampling=Custom(order=in_pairs),
            seed=5,
        ) as loader:
            assert (loader.num_samples, len(loader)) == (72, 6)
            for epoch in range(2):
                for number, batch in enumerate(loader):
                    assert batch.indices.tolist() == expected[epoch][number, replica::num_replicas].tolist()
                    for view, other in zip(*batch.images.chunk(2), strict=True):
                        assert not torch.equal(view, other)
                    assert torch.equal(*batch.indices.chunk(2))


def test_an_order_that_changes_is_refused(draw_shards: Any) -> None:
    def any_order(seed: int, epoch: int) -> Any:
        return np.random.permutation(40)

    def shrinking(seed: int, epoch: int) -> Any:
        return np.arange(40 - 8 * epoch)

    def reversed_order(seed: int, epoch: int) -> list[int]:
        return list(range(39, -1, -1))

    with pytest.raises(ValueError, match=r"order\(0, 0\) returned other samples when it was called again"):
        Loader(draw_shards(), batch_size=8, augment=TRAIN, sampling=Custom(order=any_order))
    with Loader(draw_shards(), batch_size=8, augment=TRAIN, sampling=Custom(order=shrinking), seed=1) as loader:
        with pytest.raises(ValueError, match=r"order\(1, 1\) returned 32 samples and order\(0, 0\) 40"):
            indices(itertools.chain(loader, loader))
        state = loader.state_dict()
    with Loader(draw_shards(), batch_size=8, augment=TRAIN, sampling=Custom(order=reversed_order), seed=1) as other:
        with pytest.raises(ValueError, match="loader state: sampling is 'Custom"):
            other.load_state_dict(state)
        assert indices(other) == list(range(39, -1, -1))


@pytest.mark.parametrize(
    ("weights", "length"),
    [([1.0] * 10, 5), ([100.0, 1.0], 20), ([0.3, 0.0, 0.3, 0.4], 7), ([1e-300, 3e-300], 3), ([1.0] * 7, 9)],
)
def test_proportions_hold_over_the_epochs(weights: list[float], length: int) -> None:
    """If counts per epoch round to zero, groups take turns; each epoch is full, and no total decreases."""
    shares = np.array(weights) / sum(weights)
    before = np.zeros(len(weights), np.int64)
    for epoch in range(1, 200):
        total = totals(np.array(weights), epoch * length)
        counts = total - before
        assert counts.sum() == length and counts.min() >= 0
        assert np.abs(total - shares * epoch * length).max() <= 1
        before = total
    assert (before > 0).tolist() == [weight > 0 for weight in weights]


def test_every_class_and_every_set_appears_eventually() -> None:
    labels, bounds = (np.arange(40) % 10).astype(np.int32), np.array([0, 30, 40])
    balanced = ClassBalanced(num_samples=5).drawn(labels, bounds).order
    mixed = Mixed(weights=[100, 1], num_samples=20).drawn(labels, bounds).order
    assert balanced is not None and mixed is not None
    for epoch in (0, 2, 4):
        pair = np.concatenate([balanced(1, epoch), balanced(1, epoch + 1)])
        assert sorted(labels[pair]) == list(range(10))
    assert len(np.unique(np.concatenate([balanced(1, epoch) for epoch in range(8)]))) == 40
    counts = [int((mixed(1, epoch) >= 30).sum()) for epoch in range(101)]
    assert sum(counts) == 20 and max(counts) == 1


def test_a_set_of_weight_zero_replaces_nothing(draw_shards: Any, tmp_path: Path) -> None:
    damaged = write_shard_set(tmp_path / "set")
    row = ShardSet.open(damaged).sample_index()
    with (damaged / "train-00002.tar").open("r+b") as shard:
        shard.seek(int(row.starts_N[39]) + 300)
        shard.write(b"XXXXXXXX")
    sampling = Mixed(weights=[1, 0], num_samples=40)
    with Loader([damaged, draw_shards()], batch_size=8, augment=TRAIN, sampling=sampling, on_error="replace") as loader:
        assert max(indices(loader)) < 39 and loader.num_replaced == 1


@pytest.mark.parametrize(
    "sampling",
    [ClassBalanced(), Weighted(weights=np.ones(40)), Mixed(weights=[1])],
    ids=["balanced", "weighted", "mixed"],
)
def test_an_evaluation_refuses_what_draws(draw_shards: Any, sampling: Any) -> None:
    with pytest.raises(ValueError, match=rf"sampling={type(sampling).__name__} draws them; choose sampling=Subset"):
        Loader(draw_shards(), batch_size=8, augment=CenterCrop(crop=48), sampling=sampling)


@pytest.mark.parametrize("num_replicas", [1, 2, 3])
def test_training_without_dropping_sees_every_sample_and_fills_the_last_batch(
    draw_shards: Any, num_replicas: int
) -> None:
    seen, lengths, fill = [], set(), []
    for replica in range(num_replicas):
        options = {"replica": replica, "num_replicas": num_replicas}
        with Loader(draw_shards(), batch_size=6, augment=TRAIN, drop_last=False, **options) as loader:
            batches = list(loader)
            assert loader.epoch == 1
        lengths.add(len(batches))
        seen += [index for batch in batches for index in batch.indices[batch.mask].tolist()]
        fill += [index for batch in batches for index in batch.indices[~batch.mask].tolist()]
        assert {len(batch) for batch in batches} == {6}
    assert sorted(seen) == list(range(40)) and len(lengths) == 1
    assert len(fill) == len(set(fill)) == -40 % (6 * num_replicas)


SAMPLINGS = [
    None,
    Subset(where=lambda labels: labels != 1),
    ClassBalanced(),
    Weighted(weights=np.arange(40.0)),
    Custom(order=in_pairs),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["all", "subset", "balanced", "weighted", "custom"])
@pytest.mark.parametrize("drop_last", [True, False], ids=["drop", "fill"])
@pytest.mark.parametrize("num_replicas", [1, 2])
def test_any_sampling_is_elastic_and_resumes_at_every_step(
    draw_shards: Any, sampling: Any, drop_last: bool, num_replicas: int
) -> None:
    options: dict[str, Any] = {"augment": TRAIN, "sampling": sampling, "drop_last": drop_last, "seed": 2}
    with Loader(draw_shards(), batch_size=12, **options) as one:
        whole = [(batch, one.state_dict()) for _ in range(2) for batch in one]
    for replica in range(num_replicas):
        with Loader(
            draw_shards(), batch_size=12 // num_replicas, replica=replica, num_replicas=num_replicas, **options
        ) as part:
            for (_, state), (expected, _) in itertools.pairwise(whole):
                part.load_state_dict(state)
                batch = next(iter(part))
                assert torch.equal(batch.images, expected.images[replica::num_replicas])
                assert torch.equal(batch.mask, expected.mask[replica::num_replicas])


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Subset(indices=[40]), "indices must be in 0..39"),
        (Subset(indices=[]), "indices must be sample indices"),
        (Subset(where=lambda labels: labels > 9), "holds no sample"),
        (Subset(limit=0), "limit must be at least 1"),
        (Weighted(weights=[1.0]), "weights must be 40 numbers"),
        (Weighted(weights=-np.ones(40)), "weights must be 40 numbers"),
        (Mixed(weights=[1, 1]), "weights must be 1 numbers"),
        (Custom(order=lambda seed, epoch: [40]), r"order\(0, 0\) must be in 0..39"),
        (Custom(order=lambda seed, epoch: [0.5]), r"order\(0, 0\) must be sample indices, got"),
        ("balanced", "sampling must be an object such as"),
    ],
    ids=lambda value: str(value).split(" at 0x")[0],  # the same in every process
)
def test_impossible_samplings_are_refused(draw_shards: Any, sampling: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(draw_shards(), batch_size=8, augment=TRAIN, sampling=sampling)


def test_a_sampling_and_long_reads_exclude_each_other(draw_shards: Any) -> None:
    with pytest.raises(ValueError, match="choose order='full' with a sampling"):
        Loader(draw_shards(), batch_size=8, augment=TRAIN, sampling=ClassBalanced(), order="window")
