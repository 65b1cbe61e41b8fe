import hashlib
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from alexkit.pipeline import Batch, CenterCrop, Loader, TenViews, TrainAugment, flow
from alexkit.prep import ShardSet

TRAIN = TrainAugment(crop=56)


def same(a: Batch, b: Batch) -> bool:
    """Bit for bit."""
    return (
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.indices, b.indices)
        and torch.equal(a.mask, b.mask)
        and a.keys == b.keys
    )


def test_an_epoch_is_exact_and_drops_a_different_tail_each_time(draw_shards: Any) -> None:
    tails = []
    with Loader(draw_shards(), batch_size=16, augment=TRAIN) as loader:
        assert len(loader) == 2 and loader.num_samples == 40 and loader.num_classes == 4
        for epoch in range(3):
            assert loader.epoch == epoch
            seen = [index for batch in loader for index in batch.indices.tolist()]
            assert len(seen) == len(set(seen)) == 32
            tails.append(frozenset(range(40)) - set(seen))
    assert len(set(tails)) == 3


def test_labels_keys_and_indices_belong_together(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=16, augment=TRAIN) as loader:
        for batch in loader:
            assert batch.labels.tolist() == [index % 4 for index in batch.indices.tolist()]
            assert batch.keys == [f"sample-{index:04d}" for index in batch.indices.tolist()]
            assert batch.labels.dtype == batch.indices.dtype == torch.int64
            assert batch.mask.dtype == torch.bool and batch.mask.all()


def test_stopping_at_every_step_of_two_epochs_changes_nothing(draw_shards: Any) -> None:
    folder = draw_shards()
    with Loader(folder, batch_size=8, augment=TRAIN, seed=5) as loader:
        whole = [batch for _ in range(2) for batch in loader]
        for step in range(len(whole)):
            with Loader(folder, batch_size=8, augment=TRAIN, seed=5) as first:
                batches = iter([])  # type: ignore[var-annotated]
                for _ in range(step):
                    batch = next(batches, None)
                    if batch is None:
                        batches = iter(first)
                        batch = next(batches)
                state = json.dumps(first.state_dict())
            assert len(state) <= 4096
            loader.load_state_dict(json.loads(state))
            rest = [batch for _ in range(2 - loader.epoch) for batch in loader]
            assert len(rest) == len(whole) - step
            assert all(same(a, b) for a, b in zip(rest, whole[step:], strict=True))


def test_a_break_continues_with_the_next_batch(draw_shards: Any) -> None:
    with (
        Loader(draw_shards(), batch_size=8, augment=TRAIN) as broken,
        Loader(draw_shards(), batch_size=8, augment=TRAIN) as whole,
    ):
        batches = []
        for batch in broken:
            batches.append(batch)
            break
        assert all(same(a, b) for a, b in zip([*batches, *broken], whole, strict=True))
        assert broken.epoch == 1


@pytest.mark.parametrize("num_replicas", [1, 2, 3, 4, 6, 12])
def test_the_number_of_replicas_does_not_change_a_global_batch(draw_shards: Any, num_replicas: int) -> None:
    folder = draw_shards()
    with Loader(folder, batch_size=12, augment=TRAIN, seed=1) as loader:
        expected = [batch for _ in range(2) for batch in loader]
    replicas = [
        Loader(folder, batch_size=12 // num_replicas, augment=TRAIN, seed=1, replica=r, num_replicas=num_replicas)
        for r in range(num_replicas)
    ]
    got = [list(zip(*replicas, strict=True)) for _ in range(2)]
    for batch, parts in zip(expected, [parts for epoch in got for parts in epoch], strict=True):
        for r, part in enumerate(parts):
            assert torch.equal(part.indices, batch.indices[r::num_replicas])
            assert torch.equal(part.images, batch.images[r::num_replicas])
    for replica in replicas:
        replica.close()


def test_a_state_moves_to_another_number_of_replicas(draw_shards: Any) -> None:
    folder = draw_shards()
    with (
        Loader(folder, batch_size=12, augment=TRAIN) as one,
        Loader(folder, batch_size=6, augment=TRAIN, replica=1, num_replicas=2) as second_of_two,
    ):
        next(iter(one))
        second_of_two.load_state_dict(one.state_dict())
        assert torch.equal(next(iter(one)).images[1::2], next(iter(second_of_two)).images)


@pytest.mark.parametrize("num_replicas", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 7, 16, 40, 64])
def test_evaluation_sees_every_sample_once(draw_shards: Any, batch_size: int, num_replicas: int) -> None:
    seen: list[int] = []
    lengths = set()
    for replica in range(num_replicas):
        with Loader(
            draw_shards(),
            batch_size=batch_size,
            augment=CenterCrop(crop=56),
            replica=replica,
            num_replicas=num_replicas,
        ) as loader:
            batches = list(loader)
        lengths.add(len(batches))
        assert len(batches) == len(loader) and {len(batch.images) for batch in batches} == {batch_size}
        seen += [i for batch in batches for i in batch.indices[batch.mask].tolist()]
    assert sorted(seen) == list(range(40)) and len(lengths) == 1


def test_ten_views_are_corners_and_center_then_their_mirror_images(draw_shards: Any) -> None:
    with (
        Loader(draw_shards(), batch_size=8, augment=TenViews(crop=56, mean="none"), dtype=torch.uint8) as loader,
        Loader(draw_shards(), batch_size=8, augment=CenterCrop(crop=64, mean="none"), dtype=torch.uint8) as whole,
    ):
        for batch, full in zip(loader, whole, strict=True):
            corners = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]
            for view, (top, left) in enumerate(corners):
                crop = full.images[:, :, top : top + 56, left : left + 56]
                assert torch.equal(batch.images[:, view], crop)
                assert torch.equal(batch.images[:, view + 5], crop.flip(-1))


def test_evaluation_can_be_repeated(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=16, augment=CenterCrop(crop=56)) as loader:
        first, second = list(loader), list(loader)
    assert len(first) == 3 and all(same(a, b) for a, b in zip(first, second, strict=True))


def test_evaluation_of_another_split_needs_the_training_sets_mean(draw_shards: Any) -> None:
    val = draw_shards(split="val", num_samples=9)
    with pytest.raises(ValueError, match="pass its folder or URL as mean_from"):
        Loader(val, batch_size=4, augment=CenterCrop(crop=56))
    with (
        Loader(val, batch_size=4, augment=CenterCrop(crop=56, mean_from=draw_shards())) as loader,
        Loader(val, batch_size=4, augment=CenterCrop(crop=56, mean="none")) as bare,
    ):
        mean = loader.shard_set.open(draw_shards()).sums().mean_image_HWC()[4:60, 4:60].transpose(2, 0, 1)
        difference = next(iter(bare)).images - next(iter(loader)).images
    assert (difference - torch.from_numpy(mean)).abs().max() < 1e-3


def test_thirty_two_consecutive_images_share_a_crop(draw_shards: Any) -> None:
    folder = draw_shards(num_samples=96, size_px=16)
    augment = TrainAugment(crop=8, crop_draw="group32", mean="none", jitter="off")
    whole = CenterCrop(crop=16, mean="none")
    with (
        Loader(folder, batch_size=96, augment=augment, dtype=torch.uint8) as loader,
        Loader(folder, batch_size=96, augment=whole, dtype=torch.uint8) as stored,
    ):
        batch, images = next(iter(loader)), next(iter(stored)).images
    for start in (0, 32, 64):
        rows = slice(start, start + 32)
        sources = images[batch.indices[rows]]
        places = [
            (y, x, mirror)
            for y in range(9)
            for x in range(9)
            for mirror in (False, True)
            if torch.equal(
                sources[:, :, y : y + 8, x : x + 8].flip(-1) if mirror else sources[:, :, y : y + 8, x : x + 8],
                batch.images[rows],
            )
        ]
        assert len(places) == 1


@pytest.mark.parametrize("size_px", [16, 17])
def test_central_crops_in_training_are_those_of_an_evaluation(draw_shards: Any, size_px: int) -> None:
    folder = draw_shards(num_samples=24, size_px=size_px)
    augment = TrainAugment(crop=8, crop_draw="center", flip=False, mean="none", jitter="off")
    with (
        Loader(folder, batch_size=24, augment=augment, dtype=torch.uint8) as loader,
        Loader(folder, batch_size=24, augment=CenterCrop(crop=8, mean="none"), dtype=torch.uint8) as stored,
    ):
        images = next(iter(stored)).images
        for batch in (*loader, *loader):  # in each epoch
            assert torch.equal(batch.images, images[batch.indices])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 41}, "40 samples do not fill a global batch of 41"),
        ({"replica": 2, "num_replicas": 2}, "replica 2 of 2"),
        ({"seed": -1}, "seed must be"),
        ({"order": "random"}, "order must be one of"),
        ({"device": "mps"}, "device mps: expected cpu or cuda:N"),
        ({"device": torch.device("meta")}, "device meta: expected cpu or cuda:N"),
        ({"device": "gpu"}, "device gpu: expected cpu or cuda:N"),
        ({"device": "cuda:99"}, "device cuda:99: this machine has"),
        ({"num_threads": 0}, "num_threads must be at least 1"),
        ({"on_error": "ignore"}, "on_error must be one of raise, replace"),
        ({"dtype": torch.int32}, "dtype must be one of"),
        ({"dtype": torch.uint8}, "uint8 batches hold gray levels: choose mean='none'"),
        ({"augment": TrainAugment(crop=65)}, "a crop of 65 px does not fit images of 64 px"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_at_once(draw_shards: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(draw_shards(), **{"batch_size": 8, "augment": TRAIN, **change})


@pytest.mark.parametrize("tars", ["shard-00000.tar", "*.tar", "shard-{00000..00003}.tar"])
def test_tars_are_refused_with_the_folder_to_pass(draw_shards: Any, tars: str) -> None:
    for folder in (draw_shards() / tars, [draw_shards() / tars]):
        with pytest.raises(ValueError, match=rf"a shard set is a folder, not its tars; pass {draw_shards()}$"):
            Loader(folder, batch_size=8, augment=TRAIN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jitter": "strong"}, "jitter must be one of paper, original, off"),
        ({"mean": "centerpoint"}, "mean must be a number, three numbers or one of"),
        ({"crop_draw": "batch"}, "crop_draw must be one of image, group32, center"),
        ({"crop": 0}, "crop must be at least 1 px"),
    ],
    ids=str,
)
def test_unknown_words_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainAugment(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed is 1, but this loader has 0"),
        ({"shard_set": "x"}, "shard_set is 'x'"),
        ({"version": 2}, "version is 2, but this loader has 1"),
        ({"global_batch": 16}, "global_batch is 16, but this loader has 8"),
        ({"position": 5}, "position 5 is not the start of a batch"),
        ({"position": -8}, "position -8"),
        ({"position": "8"}, "position '8'"),
    ],
    ids=str,
)
def test_the_state_of_another_loader_is_refused(draw_shards: Any, change: dict[str, Any], message: str) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TRAIN) as loader, pytest.raises(ValueError, match=message):
        loader.load_state_dict({**loader.state_dict(), **change})


def test_a_closed_loader_says_so(draw_shards: Any) -> None:
    loader = Loader(draw_shards(), batch_size=8, augment=TRAIN)
    kept = next(iter(loader))
    before = kept.images.clone()
    loader.close()
    assert torch.equal(kept.images, before)  # batches outlive their loader
    with pytest.raises(ValueError, match="this loader is closed"):
        next(iter(loader))


def test_batches_that_are_kept_do_not_change(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TRAIN) as loader:
        kept = [(batch.images, batch.images.clone()) for _ in range(4) for batch in loader]
    assert all(torch.equal(image, copy) for image, copy in kept)


def test_window_order_says_how_well_it_mixes(draw_shards: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with Loader(draw_shards(num_samples=96), batch_size=16, augment=TRAIN, order="window") as loader:
        assert sorted(index for batch in loader for index in batch.indices.tolist()) == list(range(96))
        assert loader.state_dict()["order"] == "window"
    assert "window order: 100.0 % of the samples share a batch with a stored neighbor" in caplog.text


def test_a_device_may_be_a_torch_device(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TRAIN, device=torch.device("cpu")) as loader:
        again = pickle.loads(pickle.dumps(loader))
        assert loader.device == again.device == next(iter(loader)).images.device == torch.device("cpu")
        again.close()


def test_threads_and_other_loaders_do_not_change_a_batch(draw_shards: Any) -> None:
    folder = draw_shards()

    def epochs(num_threads: int) -> list[Batch]:
        with Loader(folder, batch_size=8, augment=TRAIN, seed=3, num_threads=num_threads) as loader:
            return [batch for _ in range(2) for batch in loader]

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(epochs, (1, 2, 3, 8))
    assert all(same(a, b) for other in others for a, b in zip(first, other, strict=True))


def test_another_process_gets_the_same_tensors(draw_shards: Any) -> None:
    script = (
        "import sys, hashlib\n"
        "from alexkit.pipeline import Loader, TrainAugment\n"
        "with Loader(sys.argv[1], batch_size=4, replica=1, num_replicas=2, augment=TrainAugment(crop=56)) as loader:\n"
        "    for batch in loader:\n"
        "        print(hashlib.sha256(batch.images.numpy().tobytes()).hexdigest())\n"
    )
    folder = draw_shards()
    result = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    with Loader(folder, batch_size=4, replica=1, num_replicas=2, augment=TRAIN) as loader:
        assert result.stdout.split() == [hashlib.sha256(batch.images.numpy().tobytes()).hexdigest() for batch in loader]


def test_a_mean_is_taken_from_statistics_without_their_shard_set(draw_shards: Any) -> None:
    train = draw_shards(num_samples=20, size_px=32)
    val = draw_shards(num_samples=6, size_px=32, split="val")
    given = []
    for mean_from in (train, ShardSet.open(train).sums()):
        with Loader(val, batch_size=6, augment=CenterCrop(crop=24, mean_from=mean_from)) as loader:
            given.append(next(iter(loader)).images)
    assert torch.equal(*given)


def test_a_loader_leaves_the_other_processes_of_a_machine_their_cores(
    draw_shards: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, new_backend = [], flow.new_backend

    def seen(plan: Any, data: Any, options: Any) -> Any:
        found.append(options.num_threads)
        return new_backend(plan, data, options)

    monkeypatch.setattr(flow, "new_backend", seen)
    monkeypatch.setattr("alexkit.cores.num_cores", lambda: 9)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    Loader(draw_shards(), batch_size=8, augment=TRAIN).close()
    assert found == [2]
