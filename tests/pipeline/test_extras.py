"""Operators with seeded randomness, targets, mixing, and torch datasets."""

import functools
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alexkit.pipeline import (
    CenterCrop,
    Example,
    Loader,
    LoaderDataset,
    Mix,
    RandomResizedCrop,
    SeededRandom,
    TrainAugment,
)
from alexkit.pipeline.backends.dali_graph import _with_random
from alexkit.pipeline.storage.members import find_member

TRAIN = TrainAugment(crop=48, mean="none", jitter="off")


def noisy(images: Any, random: SeededRandom) -> Any:
    return images * random.uniform(0.5, 1.5) + random.normal(0, 10, shape=3)[0] * random.coin_flip(0.5)


def test_operators_replay_and_resume_with_seeded_randomness(draw_shards: Any) -> None:
    options: dict[str, Any] = {"augment": TRAIN, "operators": noisy, "seed": 4}
    with Loader(draw_shards(), batch_size=8, **options) as loader:
        whole = [batch.images for batch in loader]
        loader.set_epoch(0)
        next(iter(loader))
        state = loader.state_dict()
    for replica in (0, 1):
        with Loader(draw_shards(), batch_size=4, replica=replica, num_replicas=2, **options) as half:
            half.load_state_dict(state)
            assert torch.equal(next(iter(half)).images, whole[1][replica::2])
    with Loader(draw_shards(), batch_size=8, augment=TRAIN, seed=4) as plain:
        ratios = [batch.images.mean().item() / images.mean().item() for batch, images in zip(plain, whole, strict=True)]
    assert len({round(ratio, 4) for ratio in ratios}) == len(ratios)


def one(images: Any) -> Any:
    return images


def with_settings(images: Any, sigma: float = 2.0, levels: tuple[int, ...] = (1,)) -> Any:
    assert sigma == 2.0 and levels == (1,)
    return images


def with_random_last(images: Any, sigma: float = 2.0, *, random: SeededRandom | None = None) -> Any:
    assert sigma == 2.0 and random is not None
    return images


@pytest.mark.parametrize(
    ("operators", "is_given"),
    [
        (one, False),
        (with_settings, False),
        (with_random_last, True),
        (lambda images, noise: images if isinstance(noise, SeededRandom) else None, True),
        (lambda images, random=None: images if isinstance(random, SeededRandom) else None, True),
        (lambda *arguments: arguments[0] if len(arguments) == 2 else None, True),
        (functools.partial(with_settings, levels=(1,)), False),
        (dict, False),
    ],
    ids=["one", "settings", "keyword", "second", "default", "any", "partial", "C"],
)
def test_operators_get_random_numbers_only_if_they_accept_them(operators: Any, is_given: bool) -> None:
    """A second argument with a default is the user's own setting, unless it is named `random`."""
    random, images = SeededRandom(), {"images": 1}
    function = _with_random(operators, random)
    assert function(images) == images and (function is not operators) == is_given


def test_a_target_is_made_of_members_and_draws(draw_shards: Any) -> None:
    def target(example: Example) -> dict[str, Any]:
        assert example.extras == {"json": None} and example.key == f"sample-{example.index:04d}"
        top, left = example.offset
        return {"twice": 2.0 * example.label, "mirror": example.mirror, "offset": torch.tensor([top, left])}

    with Loader(draw_shards(), batch_size=8, augment=TRAIN, target=target, extras=["json"]) as loader:
        batch = next(iter(loader))
    assert batch.targets["twice"].tolist() == [2.0 * label for label in batch.labels.tolist()]
    assert batch.targets["mirror"].dtype == torch.bool and batch.targets["offset"].shape == (8, 2)
    with Loader(draw_shards(), batch_size=8, augment=RandomResizedCrop(crop=32), target=lambda e: e.box) as loader:
        boxes = next(iter(loader)).targets
    assert len(boxes) == 4 and all(len(side) == 8 for side in boxes)


class Stumbles:
    """A target that raises once, at one sample, like one that reads a missing member."""

    def __init__(self, key: str, error: type[Exception]) -> None:
        self.key, self.error, self.seen = key, error, 0

    def __call__(self, example: Example) -> int:
        if example.key == self.key and not self.seen:
            self.seen += 1
            raise self.error("not there")  # a new one, so that what its traceback refers to is released with it
        return example.label


@pytest.mark.parametrize(
    ("target", "kind", "note"),
    [
        (lambda example: example.extras["txt"], KeyError, r"target of sample 'sample-00\d\d', .*extras=\['json'\]"),
        (lambda example: torch.zeros(example.index + 1), RuntimeError, "targets of 8 samples, .* of one shape"),
        (lambda example: None, TypeError, "targets of 8 samples, .* numbers, text, arrays or tensors"),
        (lambda example: next(iter(())), RuntimeError, "target of sample 'sample-00"),
    ],
    ids=["extras that were not requested", "unequal shapes", "None", "StopIteration"],
)
def test_a_target_that_fails_is_named(draw_shards: Any, target: Any, kind: type[Exception], note: str) -> None:
    options: dict[str, Any] = {"batch_size": 8, "augment": TRAIN, "extras": ["json"]}
    with Loader(draw_shards(), target=target, **options) as loader, pytest.raises(kind) as raised:
        next(iter(loader))
    assert re.fullmatch(f"{note}.*", raised.value.__notes__[-1])


@pytest.mark.parametrize(
    ("error", "expected"),
    [(KeyError, KeyError), (OSError, OSError), (StopIteration, RuntimeError)],
    ids=["KeyError", "OSError", "StopIteration"],
)
def test_batches_before_the_one_whose_target_fails_come_first(
    draw_shards: Any, error: type[Exception], expected: type[Exception]
) -> None:
    options: dict[str, Any] = {"batch_size": 8, "augment": CenterCrop(crop=56)}
    with Loader(draw_shards(), target=Stumbles("sample-0026", error), **options) as loader:
        loop = iter(loader)
        given = [next(loop).indices.tolist() for _ in range(3)]
        assert given == [list(range(start, start + 8)) for start in (0, 8, 16)]
        with pytest.raises(expected):
            next(loop)
        assert [batch.indices[0] for batch in loop] == [24, 32]  # asking again loses nothing


def test_members_with_long_names_are_found(tmp_path: Path) -> None:
    import io
    import tarfile

    long = "folder/" * 30 + "key"
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=format) as tar:
            for ext, content in (("cls", b"3"), ("JSON", b'{"a": 1}')):
                member = tarfile.TarInfo(f"{long}.{ext}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        piece = np.frombuffer(file.getvalue(), np.uint8)
        assert json.loads(find_member(piece, long, "json") or b"") == {"a": 1}
        assert find_member(piece, long, "txt") is None and find_member(piece, long.upper(), "json") is None


@pytest.mark.parametrize("mix", [Mix(mixup=0.4), Mix(cutmix=1.0), Mix(mixup=0.4, cutmix=1.0)], ids=str)
def test_mixed_batches_are_mixtures_of_two_rows_for_any_number_of_replicas(draw_shards: Any, mix: Mix) -> None:
    options: dict[str, Any] = {"augment": TRAIN, "seed": 3}
    with Loader(draw_shards(), batch_size=8, mix=mix, **options) as loader:
        whole = [batch for _ in range(2) for batch in loader]
        state = {**loader.state_dict(), "position": 16}
        loader.load_state_dict(state)
        assert torch.equal(next(iter(loader)).images, whole[2].images)
    with Loader(draw_shards(), batch_size=8, **options) as plain:
        sources = [batch for _ in range(2) for batch in plain]
    own = []
    for mixed, source in zip(whole, sources, strict=True):
        assert mixed.labels.shape == (8, 4) and (mixed.labels.sum(1) - 1).abs().max() < 1e-6
        other = source.images.roll(4, 0)
        if not mix.cutmix:
            first, second = mixed.images - other, source.images - other
            coefficient = (first * second).sum() / (second * second).sum()
            assert (mixed.images - (coefficient * source.images + (1 - coefficient) * other)).abs().max() < 1e-2
        elif not mix.mixup:
            same = (mixed.images == source.images) | (mixed.images == other)
            assert same.all()
        rows = source.labels != source.labels.roll(4, 0)
        own += mixed.labels[rows].gather(1, source.labels[rows, None]).flatten().tolist()
    assert min(own) >= 0 and max(own) <= 1 and len({round(value, 4) for value in own}) > 3
    for replica in (0, 1):
        with Loader(draw_shards(), batch_size=4, replica=replica, num_replicas=2, mix=mix, **options) as half:
            for part, batch in zip(half, whole, strict=False):
                assert torch.allclose(part.images, batch.images[replica::2], atol=1e-4)
                assert torch.allclose(part.labels, batch.labels[replica::2])


@pytest.mark.parametrize("channels_last", [False, True], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("width", [224, 12_000], ids=["several parts of an image", "a part is one line"])
def test_mixing_part_by_part_is_mixing_whole_images(channels_last: bool, width: int) -> None:
    source = torch.rand(4, 3, 40 if width > 224 else 224, width)
    if channels_last:
        source = source.to(memory_format=torch.channels_last)
    other, labels = source.roll(2, 0), torch.arange(4)
    mixed, targets = Mix(mixup=0.4).apply(source.clone(), labels, 4, 0, 1)
    own = targets[0, 0]
    assert 0.2 < own < 0.3 and torch.allclose(mixed, source.lerp(other, 1 - own), atol=1e-6)
    mixed, targets = Mix(cutmix=1.0).apply(source.clone(), labels, 4, 0, 1)
    changed = (mixed == other) & (other != source)
    (box,) = {tuple((int(side.min()), int(side.max()) + 1) for side in one.nonzero(as_tuple=True)) for one in changed}
    channels, rows, columns = (slice(*side) for side in box)
    expected = source.clone()
    expected[:, channels, rows, columns] = other[:, channels, rows, columns]
    assert channels == slice(0, 3) and torch.equal(mixed, expected)
    area = (rows.stop - rows.start) * (columns.stop - columns.start) / source[0, 0].numel()
    assert targets[0, 2] == pytest.approx(area, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 7}, "even batch_size"),
        ({"dtype": torch.uint8}, "float batches"),
        ({"augment": CenterCrop(crop=48)}, "for training"),
    ],
    ids=str,
)
def test_mixing_that_makes_no_sense_is_refused(draw_shards: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(draw_shards(), **{"batch_size": 8, "augment": TRAIN, "mix": Mix(mixup=1.0), **change})
    with pytest.raises(ValueError, match="mixup or cutmix above 0"):
        Mix()


@pytest.mark.parametrize("format", ["jpeg", "raw"])
def test_stored_samples_are_a_map_style_dataset(draw_shards: Any, format: str) -> None:
    with Loader(draw_shards(format=format), batch_size=8, augment=TRAIN) as loader:
        assert loader.classes[2] == "class 2" and loader.class_to_idx["class3"] == 3
        assert len(loader.dataset) == 40
        labels = [loader.dataset[i].label for i in range(40)]
        assert loader.labels.tolist() == labels and loader.labels.dtype == np.int64
        assert loader.class_counts.tolist() == [labels.count(number) for number in range(loader.num_classes)]
        image, label, key, where = loader.dataset[21]
        assert image.size == (64, 64) and label == 1 and key == "sample-0021" and "train-00001.tar" in where
        assert loader.dataset[-1].key == "sample-0039"
        with pytest.raises(IndexError):
            loader.dataset[40]


def test_stored_samples_can_be_read_in_another_process(draw_shards: Any) -> None:
    first, second = draw_shards(), draw_shards(num_samples=12)
    with Loader([first, second], batch_size=8, augment=TRAIN) as loader:
        mine, theirs = loader.dataset, pickle.loads(pickle.dumps(loader.dataset))
    for index in (0, 39, 40, 51):
        assert mine[index][1:] == theirs[index][1:]
        assert np.array_equal(np.asarray(mine[index].image), np.asarray(theirs[index].image))
    assert len(mine) == len(theirs) == 52


def test_a_loader_goes_into_a_data_loader(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TRAIN) as loader:
        expected = [batch.indices.tolist() for batch in loader]
        loader.set_epoch(0)
        data_loader = torch.utils.data.DataLoader(LoaderDataset(loader), batch_size=None)
        assert len(data_loader) == 5
        assert [batch.indices.tolist() for batch in data_loader] == expected
        assert data_loader.dataset.state_dict(40, True) == loader.state_dict()  # as Composer calls it


@pytest.mark.parametrize(
    ("options", "sampler"),
    [
        ({"augment": TRAIN}, type(None)),
        ({"augment": TRAIN, "order": "fixed"}, torch.utils.data.SequentialSampler),
        ({"augment": CenterCrop(crop=56)}, torch.utils.data.SequentialSampler),
    ],
    ids=["training", "fixed order", "evaluation"],
)
def test_the_sampler_tells_whether_epochs_are_shuffled(draw_shards: Any, options: Any, sampler: type) -> None:
    with Loader(draw_shards(), batch_size=8, **options) as loader:
        assert isinstance(loader.sampler, sampler)


@pytest.mark.parametrize("augment", [TRAIN, CenterCrop(crop=56)], ids=["training", "evaluation"])
def test_the_first_batches_are_skipped_without_decoding_them(
    draw_shards: Any, augment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Hugging Face's Trainer does to resume: skip, set the epoch, iterate."""
    accelerate = pytest.importorskip("accelerate")
    with Loader(draw_shards(), batch_size=8, augment=augment, seed=1) as loader:
        epochs = [[batch.indices.tolist() for batch in loader] for _ in range(3)]
    with Loader(draw_shards(), batch_size=8, augment=augment, seed=1) as loader:
        rest = accelerate.skip_first_batches(loader, 3)
        rest.batch_sampler.batch_sampler.set_epoch(1)
        started: list[int] = []
        start = loader._loops.require_open()._feed
        monkeypatch.setattr(loader._loops.require_open(), "_feed", lambda *args: (started.append(1), start(*args))[1])
        assert [batch.indices.tolist() for batch in rest] == epochs[1][3:]
        assert len(started) <= 2 + 2  # and two batches ahead
        assert loader.epoch == 2 and [batch.indices.tolist() for batch in loader] == epochs[2]
