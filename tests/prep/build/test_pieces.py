"""Small sets are prepared by all workers, shard by shard or in pieces, to the same bytes."""

import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alexkit.prep import PixelOptions
from alexkit.prep.build import pieces
from alexkit.prep.build.build import BuildOptions, OnProgress, build_shards
from alexkit.prep.build.part import PartSummary
from alexkit.prep.build.split_build import BegunSplit
from alexkit.prep.build.write_splits import _Progress
from alexkit.prep.format.manifest import Quarantined
from alexkit.prep.sources import SourceSplit
from alexkit.prep.sources.recognize import open_source
from alexkit.prep.workers import pool

from ..conftest import DrawSource, TreeHashes


def test_pieces_give_the_bytes_of_whole_shards(
    draw_source: DrawSource, tree_hashes: TreeHashes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = draw_source(images_per_class=7)
    (source / "train/n00000000/bad.JPEG").write_bytes(b"no image")
    monkeypatch.setattr(pieces, "_MIN_IMAGES_PER_PIECE", 2)
    trees = {}
    for num_workers in (1, 3):
        out = tmp_path / f"by-{num_workers}"
        options = BuildOptions(pixels=PixelOptions(size_px=64), images_per_shard=9, num_workers=num_workers)
        built = build_shards(open_source(source), out, options, on_split=lambda split: lambda done, num_bad: None)
        manifest = built[0].shard_set.manifest
        assert manifest.num_samples == 21 and len(manifest.quarantined) == 1 and manifest.num_enlarged == 10
        trees[num_workers] = tree_hashes(out)
    assert trees[1] == trees[3]


def test_splits_share_their_workers(draw_source: DrawSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small set of several splits waits once for worker processes to start."""
    started: list[object] = []
    start = pool._Worker.__init__
    monkeypatch.setattr(pool._Worker, "__init__", lambda self, context: (started.append(self), start(self, context))[1])
    monkeypatch.setattr(pieces, "_MIN_IMAGES_PER_PIECE", 2)
    options = BuildOptions(pixels=PixelOptions(size_px=64), num_workers=2)
    built = build_shards(open_source(draw_source(splits=("train", "val"))), tmp_path / "out", options)
    assert len(built) == 2 and len(started) == 2
    assert not multiprocessing.active_children()


def test_splits_run_together_and_are_told_of_one_after_the_other(
    draw_source: DrawSource, tree_hashes: TreeHashes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All shards of all splits are jobs of one queue; each split is told to its end before the next one."""
    queues: list[int] = []
    run = pieces.run_jobs

    def counted(task, jobs, **options):  # type: ignore[no-untyped-def]
        queues.append(len(jobs))
        return run(task, jobs, **options)

    monkeypatch.setattr(pieces, "run_jobs", counted)
    monkeypatch.setattr(pieces, "_MIN_IMAGES_PER_PIECE", 2)
    source = draw_source(splits=("train", "val", "test"), images_per_class=4)
    told: list[tuple[str, int]] = []

    def tell(split: SourceSplit) -> OnProgress:
        return lambda done, num_bad: told.append((split.name, done))

    trees = []
    for images_per_shard, num_workers, num_jobs in ((2, 2, 3 * 6), (9, 2, 3 * (2 + 1)), (9, 1, 3 * 2)):
        out, told[:], queues[:] = tmp_path / f"{images_per_shard}-{num_workers}", [], []
        options = BuildOptions(
            pixels=PixelOptions(size_px=64), images_per_shard=images_per_shard, num_workers=num_workers
        )
        build_shards(open_source(source), out, options, on_split=tell)
        assert queues == [num_jobs]
        assert sorted(told, key=lambda one: (("train", "val", "test").index(one[0]), one[1])) == told
        assert {name: max(done for split, done in told if split == name) for name, _ in told} == dict.fromkeys(
            ("train", "val", "test"), 12
        )
        trees.append(tree_hashes(out))
    assert trees[1] == trees[2]


def test_a_run_that_fails_leaves_no_pieces(draw_source: DrawSource, tmp_path: Path) -> None:
    source = draw_source(splits=("train",), images_per_class=30)
    for path in list(source.rglob("*.JPEG"))[:40]:
        path.write_bytes(b"no image")
    options = BuildOptions(pixels=PixelOptions(size_px=64), images_per_shard=45, num_workers=2, max_bad=3)
    with pytest.raises(ValueError, match="at most 3 allowed"):
        build_shards(open_source(source), tmp_path / "out", options, on_split=lambda split: lambda done, num_bad: None)
    assert not list((tmp_path / "out/train").glob("*.partial"))


def test_a_split_ends_with_all_its_bad_inputs_though_its_last_job_returns_late() -> None:
    told: list[tuple[str, int, int]] = []

    def begun(name: str) -> Any:
        options = SimpleNamespace(bad_limit=lambda num_images: 10)
        build: Any = SimpleNamespace(split=SimpleNamespace(name=name, images=range(4)), options=options)
        job: Any = SimpleNamespace(shard=SimpleNamespace(images=range(4)))
        return BegunSplit(build=build, jobs=[job])

    train, val = begun("train"), begun("val")
    progress = _Progress([train, val], lambda split: lambda done, num_bad: told.append((split.name, done, num_bad)))
    progress.update(4)  # all images of train, and its job not yet returned
    train.add(PartSummary(num_bad=2, first_bad=Quarantined(source="a.jpg", reason="empty file")))
    progress.tell()
    progress.update(8)
    val.add(PartSummary(num_bad=0, first_bad=None))
    progress.tell()
    assert [row for row in told if row[0] == "train"] == [("train", 4, 0), ("train", 4, 2)]
    assert told[-1] == ("val", 4, 0)
