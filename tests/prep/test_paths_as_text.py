"""The public functions take paths as text too, as `Loader` does; a URL is not taken for a local path."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep import (
    BuildOptions,
    Manifest,
    PixelOptions,
    ShardSet,
    adopt_webdataset,
    build_shards,
    open_source,
    repair_set,
    verify_set,
)


def test_paths_may_be_text(tmp_path: Path, draw_source: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos = os.path.relpath(draw_source(splits=("train",), images_per_class=2))
    source = open_source(photos, out="shards")
    options = BuildOptions(pixels=PixelOptions(size_px=32), num_workers=1)
    (built,) = build_shards(source, "shards", options)
    assert ShardSet.open("shards/train").manifest == Manifest.read("shards/train") == built.shard_set.manifest
    Path("shards/train/train-00000.idx").unlink()
    findings = verify_set("shards/train")
    assert [finding.file for finding in findings] == ["train-00000.idx"]
    assert repair_set("shards/train", source, findings, num_workers=1, on_progress=lambda done: None)
    assert verify_set("shards/train") == []


def test_a_url_is_no_local_path(
    tmp_path: Path, draw_source: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = draw_source(splits=("train",), images_per_class=1)
    source, options = open_source(photos), BuildOptions(pixels=PixelOptions(size_px=32), num_workers=1)
    (empty := tmp_path / "empty").mkdir()
    monkeypatch.chdir(empty)
    url = "s3://bucket/shards"
    calls: list[Callable[[], object]] = [
        lambda: build_shards(source, url, options),
        lambda: adopt_webdataset(photos, url),
        lambda: adopt_webdataset(url, "adopted"),
        lambda: ShardSet.open(url),
        lambda: Manifest.read(url),
        lambda: verify_set(url),
        lambda: repair_set(url, source, [], num_workers=1, on_progress=lambda done: None),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"s3://bucket/shards: is in a store; .* name a local path"):
            call()
    assert not list(empty.iterdir())
