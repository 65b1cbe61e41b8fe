"""A loader gives the same batches from a store as from a disk, fetches each shard once, and keeps below its limit."""

import contextlib
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fault_proxy import FaultProxy
from sets import hashes, upload

from alexkit.errors import InputError
from alexkit.pipeline import CenterCrop, Loader, Subset, TrainAugment
from alexkit.pipeline.epochs.order import WINDOW_SHARDS
from alexkit.prep import Manifest

from ..conftest import write_shard_set

pytestmark = pytest.mark.slow

NUM_SHARDS, SHARD_SAMPLES = 80, 5
BATCH = 8


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 small images in 80 shards: five windows."""
    return write_shard_set(
        tmp_path_factory.mktemp("set") / "train",
        num_samples=NUM_SHARDS * SHARD_SAMPLES,
        size_px=32,
        samples_per_shard=SHARD_SAMPLES,
        format="raw",
    )


@pytest.fixture
def url(local: Path, s3: str) -> str:
    return upload(local, f"{s3}/train")


def limit_of(folder: Path, shards: int) -> int:
    """A limit with room for so many shards, and the small files beside them."""
    sizes = [shard.num_bytes for shard in Manifest.read(folder).shards]
    small = sum((folder / name).stat().st_size for name in ("manifest.json", "index.bin", "statistics.npz"))
    return shards * max(sizes) + small + 1000


@pytest.fixture
def training(local: Path, url: str, tmp_path: Path) -> Iterator[Callable[..., Loader]]:
    """`training(remote=True, ...)`: a training loader, closed at the end."""
    opened: list[Loader] = []

    def make(*, remote: bool, **settings: object) -> Loader:
        if remote:
            settings = {"cache": tmp_path / "cache", "cache_limit": limit_of(local, 3 * WINDOW_SHARDS), **settings}
        arguments = {"batch_size": BATCH, "augment": TrainAugment(crop=28, mean="none"), "num_threads": 1, **settings}
        opened.append(Loader(url if remote else local, **arguments))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for loader in opened:
        loader.close()


@pytest.mark.parametrize("order", ["shards", "window", "full"])
@pytest.mark.parametrize("num_replicas", [1, 2, 4])
def test_batches_from_a_store_are_those_from_a_disk(
    training: Callable[..., Loader], local: Path, order: str, num_replicas: int
) -> None:
    limit = limit_of(local, 3 * WINDOW_SHARDS if order == "shards" else NUM_SHARDS)
    for replica in range(num_replicas):
        settings = {
            "order": order,
            "replica": replica,
            "num_replicas": num_replicas,
            "batch_size": BATCH // num_replicas,
        }
        near, far = training(remote=False, **settings), training(remote=True, cache_limit=limit, **settings)
        assert [hashes(near), hashes(near)] == [hashes(far), hashes(far)]  # two epochs
        far.close()  # replicas of one run move together; these stand at different epochs, and would hold both


@pytest.mark.parametrize("order", ["shards", "window", "full"])
@pytest.mark.parametrize("num_replicas", [1, 2, 4])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_runs_that_resume_in_the_middle_through_any_network_continue_on_either_side(
    training: Callable[..., Loader],
    through: Callable[..., FaultProxy],
    local: Path,
    order: str,
    num_replicas: int,
    rate: float,
) -> None:
    limit = limit_of(local, 3 * WINDOW_SHARDS if order == "shards" else NUM_SHARDS)
    stop, kinds = 17, ("503", "429", "drop", "reset", "short", "flip")
    for replica in range(num_replicas):
        settings = {
            "order": order,
            "replica": replica,
            "num_replicas": num_replicas,
            "batch_size": BATCH // num_replicas,
        }
        near = training(remote=False, **settings)
        whole = [hashes(near), hashes(near)]
        proxy = through(rate=rate, seed=replica, kinds=kinds)
        first = training(remote=True, cache_limit=limit, **settings)
        seen = [hashes([batch])[0] for _, batch in zip(range(stop), first, strict=False)]
        state = first.state_dict()
        first.close()
        second = training(remote=True, cache_limit=limit, **settings)
        second.load_state_dict(state)
        seen += hashes(second)
        third = training(remote=False, **settings)
        third.load_state_dict(second.state_dict())
        assert seen == whole[0] and hashes(second) == hashes(third) == whole[1]
        second.close()
        assert bool(proxy.faults) == bool(rate) or replica  # later replicas find the cache full


def test_each_shard_is_fetched_once_an_epoch_and_the_limit_holds(
    training: Callable[..., Loader], local: Path, url: str, through: Callable[..., FaultProxy]
) -> None:
    proxy = through()
    limit = limit_of(local, 3 * WINDOW_SHARDS)
    loader = training(remote=True, order="shards", cache_limit=limit)
    assert loader._loops.require_open()._remote is not None
    most, done = 0, threading.Event()

    def sample() -> None:
        nonlocal most
        while not done.wait(0.002):
            assert loader._loops.require_open()._remote is not None
            most = max(most, loader._loops.require_open()._remote.remote.cache.usage().total)

    watcher = threading.Thread(target=sample)
    watcher.start()
    for _ in range(3):
        for _batch in loader:
            pass
    done.set()
    watcher.join()
    fetched = sum(count for path, count in proxy.answered.items() if path.endswith(".tar"))
    print(f"{fetched} fetches for 3 epochs of {NUM_SHARDS} shards; at most {most} of {limit} bytes")
    assert NUM_SHARDS <= fetched <= 3 * NUM_SHARDS + 2 * WINDOW_SHARDS
    assert 0 < most <= limit


@pytest.mark.parametrize("shards", [6, 12, 18])
def test_a_set_of_few_shards_makes_room_for_the_next_epoch(s3: str, tmp_path: Path, shards: int) -> None:
    """Each shard is soon wanted again, all of them at once, and not all of them have room."""
    local = write_shard_set(tmp_path / "train", num_samples=100, size_px=32, samples_per_shard=5, format="raw")
    settings = {"batch_size": 2, "augment": TrainAugment(crop=28, mean="none"), "order": "fixed", "num_threads": 1}
    far_settings = {"cache": tmp_path / "cache", "cache_limit": limit_of(local, shards), **settings}
    with (
        Loader(local, **settings) as near,  # type: ignore[arg-type]
        Loader(upload(local, f"{s3}/few"), **far_settings) as far,  # type: ignore[arg-type]
    ):
        assert [hashes(near) for _ in range(3)] == [hashes(far) for _ in range(3)]


def test_an_evaluation_walks_with_little_room_and_sees_every_sample_once(local: Path, url: str, tmp_path: Path) -> None:
    settings = {"batch_size": 7, "augment": CenterCrop(crop=28, mean="none"), "num_threads": 1}
    near = Loader(local, **settings)  # type: ignore[arg-type]
    far = Loader(url, cache=tmp_path / "c", cache_limit=limit_of(local, 12), **settings)  # type: ignore[arg-type]
    with near, far:
        for _ in range(2):
            assert hashes(near) == hashes(far)
            assert far._loops.require_open()._remote is not None and not far._loops.require_open()._remote._mapped
        seen = np.concatenate([batch.indices[batch.mask].numpy() for batch in far])
        assert np.array_equal(np.sort(seen), np.arange(NUM_SHARDS * SHARD_SAMPLES))


@pytest.mark.parametrize("near_set", [False, True])
def test_the_mean_may_lie_in_a_store_too(
    local: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near_set: bool
) -> None:
    monkeypatch.setenv("ALEXKIT_CACHE", str(tmp_path / ("cache" if near_set else "of_others")))
    settings = {"batch_size": 7, "num_threads": 1}
    cache = {} if near_set else {"cache": tmp_path / "cache"}
    near = Loader(local, augment=CenterCrop(crop=28, mean_from=local), **settings)  # type: ignore[arg-type]
    far = Loader(
        local if near_set else url,
        augment=CenterCrop(crop=28, mean_from=url),
        **settings,  # type: ignore[arg-type]
        **cache,  # type: ignore[arg-type]
    )
    with near, far:
        assert next(iter(near)).images.equal(next(iter(far)).images)
    assert not (tmp_path / "of_others").exists()


def test_single_images_of_a_remote_set_are_those_of_the_disk(training: Callable[..., Loader], url: str) -> None:
    """Before, between and after batches, whatever of the set is mapped; raw images were black."""
    limit = {"order": "shards"}
    near, far = training(remote=False, **limit), training(remote=True, **limit)
    for _ in range(2):
        for index in (0, 201, 399):
            expected, found = near.dataset[index], far.dataset[index]
            assert np.asarray(found.image).max() > 0 and (np.asarray(expected.image) == np.asarray(found.image)).all()
            assert (found.label, found.key) == (expected.label, expected.key)
            again = pickle.loads(pickle.dumps(far.dataset))[index]  # as a DataLoader's worker receives it
            assert again[1:] == found[1:] and (np.asarray(again.image) == np.asarray(found.image)).all()
        next(iter(far))


def test_a_copy_that_the_disk_damaged_is_fetched_again(
    training: Callable[..., Loader], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In a new loader, in one that has it mapped, and for a single image: the store is whole, so nobody need act."""
    settings = {"order": "shards"}
    near, far = training(remote=False, **settings), training(remote=True, **settings)
    cache = tmp_path / "cache" / "shards"

    def overwrite(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(600)
            file.write(bytes(9000))

    def damage() -> None:
        for path in cache.glob("*.tar"):
            with contextlib.suppress(FileNotFoundError):  # some go meanwhile, to make room
                overwrite(path)

    assert hashes(near) == hashes(far)
    damage()
    # What was checked and handed to the backend before is under way already.
    assert hashes(near)[6:] == hashes(far)[6:]
    assert "was damaged on the disk; it is fetched again" in caplog.text
    damage()
    assert (np.asarray(near.dataset[7].image) == np.asarray(far.dataset[7].image)).all()
    far.close()
    damage()
    near.set_epoch(0)
    assert hashes(near) == hashes(training(remote=True, **settings))


@pytest.mark.parametrize(
    ("order", "shards", "words"),
    [
        ("shards", 3 * WINDOW_SHARDS - 10, "3 windows of order='shards' are up to"),
        ("full", NUM_SHARDS - 10, "order='full' uses all shards at any time"),
        ("window", NUM_SHARDS - 10, "order='window' uses all shards at any time"),
    ],
)
def test_a_limit_that_is_too_small_is_refused_with_its_numbers(
    training: Callable[..., Loader], local: Path, order: str, shards: int, words: str
) -> None:
    limit = limit_of(local, shards)
    with pytest.raises(InputError, match=rf"{words}.*cache limit of {limit} leaves"):
        training(remote=True, order=order, cache_limit=limit)


def test_a_loader_that_cannot_be_made_lets_go_of_the_cache(url: str, local: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    view = CenterCrop(crop=28, mean="none")
    for folder, change, words in (
        (url, {"augment": CenterCrop(crop=40)}, "does not fit images"),
        (url, {"sampling": Subset(limit=0)}, "limit must be"),
        (url, {"extras": "json"}, "extras must be"),
        (url, {"cache_limit": 0}, "cache limit must be at least 1 byte"),
        ([local, url], {}, "only local shard sets"),
    ):
        with pytest.raises(InputError, match=words):
            Loader(folder, **{"batch_size": 8, "augment": view, "cache": cache, **change})  # type: ignore[arg-type]
        assert list((cache / "leases").iterdir()) == []


def test_a_cache_must_be_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALEXKIT_CACHE", raising=False)
    with pytest.raises(InputError, match="name a folder on a local disk with cache=, --cache or ALEXKIT_CACHE"):
        Loader(url, batch_size=4, augment=CenterCrop(crop=28, mean="none"))


def test_the_parent_of_the_splits_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds the splits train; pass one"):
        Loader(url.rpartition("/")[0], batch_size=4, augment=CenterCrop(crop=28, mean="none"), cache=tmp_path)
