import gc
import json
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alexkit.pipeline import CenterCrop, Loader, TrainAugment
from alexkit.pipeline.backends.buffers import Buffers
from alexkit.pipeline.epochs.schedule import LocalBatch
from alexkit.pipeline.storage import CorruptSamples, Samples
from alexkit.prep import Manifest, ShardSet
from alexkit.prep.format.manifest import manifest_digest

from ..conftest import write_shard_set

EVALUATE = CenterCrop(crop=56)
INDICES_B = np.arange(40)
FIRST_BATCH = LocalBatch(epoch=0, numbers_B=INDICES_B, indices_B=INDICES_B, draws_B=INDICES_B, mask_B=INDICES_B >= 0)


@pytest.fixture
def copied(draw_shards: Any, tmp_path: Path) -> Path:
    """A shard set of 40 samples that a test may damage."""
    return Path(shutil.copytree(draw_shards(), tmp_path / "set"))


def spoil(folder: Path, index: int, content: bytes | None = None) -> int:
    """Overwrite one stored image, with zeros by default; returns its offset in its shard."""
    number, row = divmod(index, 16)
    shard_set = ShardSet.open(folder)
    rows = shard_set.index(number)
    offset, size = int(rows.image_offsets[row]), int(rows.image_sizes[row])
    with (folder / shard_set.manifest.shards[number].name).open("r+b") as file:
        file.seek(offset)
        file.write((content or bytes(size))[:size])
    return offset


def test_a_corrupt_image_is_named_with_shard_key_and_offset(copied: Path) -> None:
    offset = spoil(copied, 21)
    with (
        Loader(copied, batch_size=8, augment=EVALUATE) as loader,
        pytest.raises(ValueError, match=rf"train-00001\.tar: sample 'sample-0021' at offset {offset}: .*on_error"),
    ):
        list(loader)


def test_checksums_are_compared_without_touching_what_is_mapped(draw_shards: Any) -> None:
    """Checks run in their own thread, and only the loader's thread may fetch and map shards of a remote set."""
    samples, brought = Samples([ShardSet.open(draw_shards())]), []
    samples.on_demand = brought.append
    corrupt = CorruptSamples(samples, budget=10)
    assert corrupt.check(FIRST_BATCH).result() == {} and brought == []
    corrupt.add({15: "its CRC32C is another"})
    assert corrupt.without(FIRST_BATCH, training=True)[0].indices_B[15] == 16 and brought == [1]
    corrupt.close()


def test_a_replacement_is_not_passed_over_because_of_a_damaged_copy(copied: Path) -> None:
    """What replaces a sample depends on the set, not on this machine's cache of it."""
    shard = copied / "train-00001.tar"
    whole = shard.read_bytes()
    spoil(copied, 16)
    samples, fetched = Samples([ShardSet.open(copied)]), []

    def fetch_again(indices: Iterable[int]) -> None:
        fetched.extend(indices)
        shard.write_bytes(whole)

    samples.on_corrupt = fetch_again
    corrupt = CorruptSamples(samples, budget=10)
    corrupt.add({15: "its CRC32C is another"})
    assert corrupt.without(FIRST_BATCH, training=True)[0].indices_B[15] == 16 and fetched == [16]
    corrupt.close()


def test_a_loader_goes_on_after_a_corrupt_image_was_named(copied: Path, draw_shards: Any) -> None:
    spoil(copied, 21)
    with Loader(copied, batch_size=8, augment=EVALUATE) as loader:
        for _ in range(2):  # the broken pipeline does not leak into the second try
            with pytest.raises(ValueError, match="sample-0021"):
                list(loader)
        loader.load_state_dict({**loader.state_dict(), "position": 24})
        with Loader(draw_shards(), batch_size=8, augment=EVALUATE) as sound:
            assert torch.equal(next(iter(loader)).images, list(sound)[3].images)


@pytest.fixture(params=["index", "no index"])
def with_and_without_checksums(copied: Path, request: pytest.FixtureRequest) -> Path:
    """The same set, also as one of format 2, which has no checksums."""
    if request.param == "no index":
        forget_index(copied)
    return copied


def forget_index(folder: Path) -> None:
    (folder / "index.bin").unlink()
    replace(Manifest.read(folder), index_sha256="").write(folder)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 8},
        {"batch_size": 20, "num_threads": 3},
        {"batch_size": 4, "operators": lambda node: node},
        {"batch_size": 8, "dtype": torch.float16, "order": "window"},
    ],
    ids=lambda value: str(value).split(" at 0x")[0],  # the same in every process
)
def test_a_replacement_depends_on_the_sample_alone(
    with_and_without_checksums: Path, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    for index in (3, 4, 39):
        spoil(with_and_without_checksums, index)
    augment = TrainAugment(crop=56)
    with Loader(with_and_without_checksums, augment=augment, on_error="replace", **options) as loader:
        for _ in range(2):
            batches = list(loader)
            seen = sorted(index for batch in batches for index in batch.indices.tolist())
            # 3 and 4 become 5, and 39 becomes 0.
            assert seen == sorted([*(set(range(40)) - {3, 4, 39}), 5, 5, 0])
            assert all(batch.labels.tolist() == [i % 4 for i in batch.indices.tolist()] for batch in batches)
        assert loader.num_replaced == 6
    assert sum("another sample replaces it" in message for message in caplog.messages) == 3


@pytest.mark.parametrize("harm", ["a flipped bit", "a zeroed sector"])
@pytest.mark.parametrize("format", ["jpeg", "raw"])
def test_damage_that_still_decodes_is_found(draw_shards: Any, tmp_path: Path, format: str, harm: str) -> None:
    folder = Path(shutil.copytree(draw_shards(format=format), tmp_path / "set"))
    random = np.random.default_rng(0)
    shard_set = ShardSet.open(folder)
    hit = random.choice(40, 10, replace=False).tolist()
    for index in hit:
        number, row = divmod(index, 16)
        rows = shard_set.index(number)
        with (folder / shard_set.manifest.shards[number].name).open("r+b") as file:
            at = int(rows.image_offsets[row]) + int(random.integers(rows.image_sizes[row] - 512))
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << int(random.integers(8))]) if harm == "a flipped bit" else bytes(512))
    with Loader(folder, batch_size=8, augment=EVALUATE, on_error="replace") as loader:
        good = [index for batch in loader for index in batch.indices[batch.mask].tolist()]
    assert set(good) == set(range(40)) - set(hit)


def test_a_corrupt_image_stops_the_loader_when_its_batch_is_due(copied: Path) -> None:
    spoil(copied, 21)
    with Loader(copied, batch_size=8, augment=EVALUATE) as loader:
        for _ in range(2):
            seen = []
            with pytest.raises(ValueError, match=r"sample-0021.* CRC32C is \w{8}, the index says \w{8}, so it was"):
                for batch in loader:
                    seen.append(batch.indices.tolist())
            assert seen == [list(range(8)), list(range(8, 16))]


def test_more_corrupt_images_than_the_budget_end_the_run(copied: Path) -> None:
    for index in range(0, 22, 2):
        spoil(copied, index)
    options: dict[str, Any] = {"batch_size": 8, "augment": EVALUATE, "on_error": "replace"}
    with (
        Loader(copied, **options) as loader,
        pytest.raises(ValueError, match="11 images are corrupt so far, more than the 10 that max_replaced allows"),
    ):
        list(loader)
    with Loader(copied, max_replaced=0.5, **options) as loader:
        list(loader)
        assert loader.num_replaced == 11


def test_an_evaluation_masks_what_it_replaced(copied: Path) -> None:
    spoil(copied, 3)
    with Loader(copied, batch_size=16, augment=EVALUATE, on_error="replace") as loader:
        seen = [index for batch in loader for index in batch.indices[batch.mask].tolist()]
    assert sorted(seen) == [index for index in range(40) if index != 3]


@pytest.mark.parametrize(
    ("fit", "operators"),
    [("crop", None), ("crop", lambda node: node), ("shorter", None)],
    ids=["compiled", "dali", "whole images"],
)
def test_an_image_of_another_size_counts_as_corrupt(tmp_path: Path, draw_shards: Any, fit: str, operators: Any) -> None:
    small = draw_shards(size_px=16)
    first = ShardSet.open(small).index(0)
    content = (small / "train-00000.tar").read_bytes()[int(first.image_offsets[0]) :][: int(first.image_sizes[0])]
    folder = write_shard_set(tmp_path / "set", fit=fit)
    spoil(folder, 2, content)
    with (
        Loader(folder, batch_size=8, augment=CenterCrop(crop=8), operators=operators) as loader,
        pytest.raises(ValueError, match="sample-0002"),
    ):
        list(loader)


def test_a_batch_that_was_interrupted_is_yielded_again(draw_shards: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    take, calls = Buffers.take, 0

    def interrupted(buffers: Buffers) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return take(buffers)

    options: dict[str, Any] = {"batch_size": 8, "augment": TrainAugment(crop=56)}
    with Loader(draw_shards(), **options) as whole, Loader(draw_shards(), **options) as loader:
        expected = [(batch.images, batch.labels) for batch in whole]
        monkeypatch.setattr(Buffers, "take", interrupted)
        seen = []
        with pytest.raises(KeyboardInterrupt):
            for batch in loader:
                seen.append((batch.images, batch.labels))
        seen += [(batch.images, batch.labels) for batch in loader]
    assert len(seen) == len(expected)
    for (images, labels), (images_again, labels_again) in zip(expected, seen, strict=True):
        assert torch.equal(images, images_again) and torch.equal(labels, labels_again)


def edit_manifest(folder: Path, change: Any) -> None:
    data = json.loads((folder / "manifest.json").read_text())
    change(data)
    data.pop("manifest_sha256")
    data["manifest_sha256"] = manifest_digest(data)
    (folder / "manifest.json").write_text(json.dumps(data))


def rewrite_index(folder: Path, old: str, new: str) -> None:
    """Change the first shard's index and give the manifest its hash, as a hostile author would.

    Only sets without `index.bin` are opened by these.
    """
    import hashlib

    forget_index(folder)
    path = folder / "train-00000.idx"
    path.write_text(path.read_text().replace(old, new, 1))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_manifest(folder, lambda data: data["shards"][0].update(index_sha256=digest))


DAMAGE = {
    "the shard shrank": (
        lambda folder: os.truncate(folder / "train-00001.tar", 5000),
        r"train-00001\.tar: 5000 bytes, expected",
    ),
    "the shard is missing": (lambda folder: (folder / "train-00002.tar").unlink(), r"train-00002\.tar: missing"),
    "the index is missing": (lambda folder: (folder / "train-00002.idx").unlink(), r"train-00002\.idx: missing"),
    "the index is cut": (
        lambda folder: (forget_index(folder), os.truncate(folder / "train-00000.idx", 300)),
        r"train-00000\.idx:1: promises 16 samples, but \d lines follow",
    ),
    "another shard's index": (
        lambda folder: (
            forget_index(folder),
            shutil.copy(folder / "train-00001.idx", folder / "train-00000.idx"),
        ),
        r"train-00000\.idx",
    ),
    "a negative offset": (
        lambda folder: rewrite_index(folder, "jpg 512 ", "jpg -512 "),
        r"train-00000\.idx:2: expected 'jpg OFFSET",
    ),
    "an offset of 10**12": (
        lambda folder: rewrite_index(folder, "jpg 512 ", f"jpg {10**12} "),
        r"train-00000\.idx:2: \d+ bytes at offset 1000000000000 lie outside the shard",
    ),
    "an offset beyond 64 bits": (
        lambda folder: rewrite_index(folder, "jpg 512 ", f"jpg {10**30} "),
        r"train-00000\.idx:2: expected 'jpg OFFSET",
    ),
    "a label of many digits": (
        lambda folder: rewrite_index(folder, " 1 sample-0000.cls", " 500 sample-0000.cls"),
        r"train-00000\.tar: sample 'sample-0000': label b'0.*, expected a number",
    ),
    "two keys in one sample": (
        lambda folder: rewrite_index(folder, "sample-0003.cls", "sample-0004.cls"),
        r"train-00000\.idx:5: expected",
    ),
    "10**12 samples": (
        lambda folder: edit_manifest(folder, lambda data: data["shards"][0].update(num_samples=10**12)),
        r"manifest\.json: says 40 samples, but its shards add up to",
    ),
    "a negative count": (
        lambda folder: edit_manifest(folder, lambda data: data["shards"][0].update(num_samples=-5)),
        r"manifest\.json: damaged field",
    ),
    "a shard of another folder": (
        lambda folder: edit_manifest(folder, lambda data: data["shards"][0].update(name="../train-00000.tar")),
        r"manifest\.json: damaged field",
    ),
    "index.bin is missing": (lambda folder: (folder / "index.bin").unlink(), r"index\.bin: missing"),
    "index.bin is cut": (lambda folder: os.truncate(folder / "index.bin", 300), r"index\.bin: 300 bytes"),
    "not JSON": (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest\.json: not JSON"),
}


def test_a_raw_image_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_shard_set(tmp_path / "raw", format="raw")
    rewrite_index(folder, "raw 512 12288 ", "raw 512 12280 ")
    with pytest.raises(ValueError, match=r"sample 'sample-0000' has an image of 12280 bytes, expected 12288"):
        Loader(folder, batch_size=8, augment=EVALUATE)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_before_the_first_batch(copied: Path, damage: str) -> None:
    harm, message = DAMAGE[damage]
    harm(copied)
    with pytest.raises(ValueError, match=message):
        Loader(copied, batch_size=8, augment=EVALUATE)


@pytest.mark.parametrize("label", [b"9", b"-", b" "])
def test_a_label_outside_the_class_table_is_refused(copied: Path, label: bytes) -> None:
    rows = ShardSet.open(copied).index(0)
    forget_index(copied)
    with (copied / "train-00000.tar").open("r+b") as file:
        file.seek(int(rows.label_offsets[5]))
        file.write(label)
    with pytest.raises(
        ValueError, match=r"label 9, but the class table has 4 rows|sample 'sample-0005': label b'[- ]'"
    ):
        Loader(copied, batch_size=4, augment=EVALUATE)


def test_threads_and_memory_are_released(draw_shards: Any) -> None:
    folder = draw_shards(num_samples=96)

    def cycle() -> None:
        with Loader(folder, batch_size=32, augment=TrainAugment(crop=56), num_threads=2) as loader:
            for _ in loader:
                pass

    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def num_threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    for _ in range(8):
        cycle()
    threads, resident = num_threads(), resident_bytes()
    for _ in range(20):
        cycle()
    with Loader(folder, batch_size=32, augment=TrainAugment(crop=56), num_threads=2) as loader:
        for _ in range(3):
            for _ in loader:
                pass
    for _ in range(100):  # Python joins a thread a moment before the system has ended it
        if num_threads() <= threads:
            break
        time.sleep(0.02)
    assert num_threads() <= threads
    assert resident_bytes() <= 1.05 * resident


@pytest.mark.parametrize("operators", [None, lambda node: node], ids=["compiled", "dali"])
def test_a_closed_loader_releases_its_shards(draw_shards: Any, operators: Any) -> None:
    def num_mapped() -> int:
        return Path("/proc/self/maps").read_text().count(f"{folder}/")

    folder = draw_shards()
    gc.collect()  # loaders of other tests, which mapped the same shards
    loader = Loader(folder, batch_size=8, augment=TrainAugment(crop=56), operators=operators)
    images = next(iter(loader)).images
    kept = images.clone()
    assert num_mapped() == 4  # three shards and index.bin
    loader.close()
    loader.close()  # a second time does nothing
    assert num_mapped() == 0
    assert torch.equal(images, kept)
    with pytest.raises(ValueError, match="closed"):
        next(iter(loader))


def test_a_loader_that_failed_releases_its_shards_too(copied: Path) -> None:
    spoil(copied, 3)
    gc.disable()  # which would at some time find a loader that its own error keeps alive
    try:
        with (
            Loader(copied, batch_size=8, augment=EVALUATE) as loader,
            pytest.raises(ValueError, match="sample-0003"),
        ):
            next(iter(loader))
        del loader
        assert f"{copied}/" not in Path("/proc/self/maps").read_text()
    finally:
        gc.enable()
