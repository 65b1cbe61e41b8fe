"""The public functions take paths as text too, as `Loader` and `adopt_webdataset` do."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.prep import (
    BuildOptions,
    Manifest,
    PixelOptions,
    ShardSet,
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
