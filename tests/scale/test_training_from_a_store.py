"""Training, evaluation and verification from a store are those from a disk."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from servers import SECRET_KEY
from sets import upload

from alexkit.pipeline.remote import local_face
from alexkit.prep.storage import ObjectStore, StoreUrl

from ..conftest import write_shard_set

pytestmark = pytest.mark.slow

RECIPE = ("--recipe", "cifar10-19", "--set", "training.batch_size=16", "--set", "training.epochs=2")
SMALL = (*RECIPE, "--set", "schedule.kind=linear", "--set", "data.order=shards")


def run(program: str, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", f"alexkit.cli.{program}", *map(str, words)]
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=200)


def test_a_run_from_a_store_has_the_losses_of_one_from_a_disk(s3: str, tmp_path: Path) -> None:
    local, runs, cache = tmp_path / "shards", tmp_path / "runs", tmp_path / "cache"
    for split, count in (("train", 100), ("val", 40)):
        write_shard_set(local / split, num_samples=count, size_px=32, samples_per_shard=5, split=split)
        upload(local / split, f"{s3}/shards/{split}")
    here = run("alextrain", "--shards", local, "--runs", runs, "--name", "here", *SMALL)
    assert here.returncode == 0, here.stderr
    through_cache = ("--cache", cache, "--cache-limit", "20MB")
    there = run("alextrain", "--shards", f"{s3}/shards", "--runs", runs, "--name", "there", *SMALL, *through_cache)
    assert there.returncode == 0, there.stderr
    logs = [(runs / name / "log.jsonl").read_text().splitlines() for name in ("here", "there")]
    losses = [[row["loss"] for row in map(json.loads, lines) if "loss" in row] for lines in logs]
    assert losses[0] and losses[0] == losses[1]
    tables = []
    for shards, more in ((local, ()), (f"{s3}/shards", through_cache)):
        done = run("alexeval", "--shards", shards, *more, "--json", runs / "there")
        assert done.returncode == 0, done.stderr
        tables.append(json.loads(done.stdout))
    assert tables[0]["rows"] == tables[1]["rows"]
    assert [table["shards"] for table in tables] == [f"{local}/val", f"{s3}/shards/val"]
    written = b"".join(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert SECRET_KEY.encode() not in written and not list((cache / "shards").glob("*.partial"))


def test_a_quick_verification_downloads_no_shard(
    s3: str, tmp_path: Path, through: Callable[..., FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    (scratch := tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    url = upload(write_shard_set(tmp_path / "val", num_samples=9, samples_per_shard=5, split="val"), f"{s3}/val")
    proxy = through()
    sound = run("alexprep", "verify", "--quick", url)
    assert sound.returncode == 0 and "all good" in sound.stdout, sound.stderr
    assert not any(path.endswith(".tar") for path in proxy.bodies)
    store = ObjectStore(StoreUrl.parse(url))
    store.put_whole("val-00001.tar", store.read("val-00001.tar")[:-1])
    shorter = run("alexprep", "verify", "--quick", url)
    assert shorter.returncode == 1 and f"{url}/val-00001.tar: " in shorter.stdout, shorter.stdout
    assert not list(scratch.iterdir())


def test_only_files_of_shard_sets_are_copied(
    s3: str, tmp_path: Path, through: Callable[..., FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images may be at the same URL, and a command may be given that of a source by mistake."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    url = upload(write_shard_set(tmp_path / "val", num_samples=9, split="val"), f"{s3}/val").removesuffix("/val")
    for name in ("train/cat/1.jpg", "photos/1.jpg"):
        ObjectStore(StoreUrl.parse(url)).put_whole(name, b"1")
    proxy = through()
    sound = run("alexprep", "verify", url)
    assert sound.returncode == 0 and "all good" in sound.stdout, sound.stderr
    assert not any(path.endswith(".jpg") for path in proxy.bodies)
    source = run("alexprep", "verify", f"{url}/train")
    assert source.returncode == 1 and f"{url}/train: no shard set there" in source.stderr


def test_sets_are_found_where_the_store_refuses_what_does_not_exist(
    s3: str, tmp_path: Path, through: Callable[..., FaultProxy]
) -> None:
    """As S3 does for those who may read a bucket but not list it."""
    for split in ("train", "val"):
        upload(write_shard_set(tmp_path / split, num_samples=4, split=split), f"{s3}/shards/{split}")
    proxy = through()
    names = ("shards/manifest.json", "test/manifest.json", "quarantine.jsonl")
    proxy.refused.update(dict.fromkeys(names, (403, "AccessDenied")))
    face = local_face(StoreUrl.parse(f"{s3}/shards"), tmp_path / "cache")
    assert sorted(path.name for path in face.iterdir() if path.is_dir()) == ["train", "val"]
    with pytest.raises(PermissionError, match="access denied"):
        local_face(StoreUrl.parse(f"{s3}/none/shards"), tmp_path / "cache")
