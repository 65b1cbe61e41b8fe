"""Preparation from a store into a store gives the set that local preparation gives."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from PIL import Image
from servers import ACCESS_KEY, SECRET_KEY

from alexkit.errors import InputError
from alexkit.prep import ShardSet
from alexkit.prep.build.build import BuildOptions, _unless_complete, build_shards
from alexkit.prep.build.split_build import SplitBuild
from alexkit.prep.build.stores.shared_run import SharedRun
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources.recognize import open_source
from alexkit.prep.storage import ObjectStore, StoreUrl

from ..conftest import draw_image
from ..hub_stand_in import hub

pytestmark = pytest.mark.slow

OPTIONS = ("--size", "32", "--images-per-shard", "8", "--workers", "2")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 drawn photographs in class folders of two splits."""
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 30), ("val", 6)):
        for i in range(count):
            path = root / split / f"class{i % 3}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw_image(i, i % 3, 48)).save(path)
    return root


@pytest.fixture(scope="module")
def expected(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """SHA-256 of every file of the local run, by its path."""
    out = tmp_path_factory.mktemp("local") / "out"
    done = alexprep("shard", str(photos), "--out", str(out), *OPTIONS)
    assert done.returncode == 0, done.stderr
    return {str(path.relative_to(out)): digest(path.read_bytes()) for path in out.rglob("*") if path.is_file()}


def alexprep(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "alexkit.cli.alexprep", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def store_at(url: str) -> ObjectStore:
    return ObjectStore(StoreUrl.parse(url))


def stored(url: str) -> dict[str, str]:
    store = store_at(url)
    return {one.name: digest(store.read(one.name)) for one in store.list_all()}


@pytest.fixture
def remote_photos(photos: Path, s3: str) -> str:
    store = store_at(f"{s3}/photos")
    for path in photos.rglob("*.jpg"):
        store.put_whole(str(path.relative_to(photos)), path)
    return f"{s3}/photos"


def test_source_and_output_on_a_failing_store_give_the_local_set(
    remote_photos: str, s3: str, expected: dict[str, str], through: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    proxy = through(rate=0.3, seed=5, kinds=("503", "429", "drop", "reset", "short"))
    done = alexprep("shard", remote_photos, "--out", f"{s3}/out", *OPTIONS, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    proxy.rate = 0.0
    assert stored(f"{s3}/out") == expected
    assert len(proxy.faults) == 5 and not list(tmp_path.iterdir())
    again = alexprep("shard", remote_photos, "--out", f"{s3}/out", *OPTIONS, TMPDIR=str(tmp_path))
    assert again.returncode == 0 and "was complete" in again.stdout, again.stderr


def test_objects_that_are_refused_alone_are_quarantined_alike_by_any_workers(
    remote_photos: str, through: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    refused = {"class0/3.jpg": (403, "AccessDenied"), "class1/4.jpg": (403, "InvalidObjectState")}
    through().refused.update(refused)
    sets = []
    for workers in ("1", "3"):
        out = tmp_path / workers
        done = alexprep("shard", remote_photos, "--out", str(out), *OPTIONS[:-1], workers)
        assert done.returncode == 0, done.stderr
        sets.append({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert sets[0] == sets[1]
    bad = [json.loads(line) for line in sets[0]["train/quarantine.jsonl"].splitlines()]
    assert {one["source"]: one["reason"].partition(";")[0] for one in bad} == {
        "class0/3.jpg": "cannot be read: access denied",
        "class1/4.jpg": f"{remote_photos}/train/class1/4.jpg: archived by its store",
    }


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken"])
def test_a_bucket_that_refuses_all_objects_ends_the_run_and_the_same_command_resumes_it(
    remote_photos: str, expected: dict[str, str], through: Callable[..., FaultProxy], tmp_path: Path, code: str
) -> None:
    proxy = through()
    proxy.refused[""] = (403, code)
    out = tmp_path / "out"
    command = ("shard", remote_photos, "--out", str(out), *OPTIONS)
    done = alexprep(*command)
    assert done.returncode == 1 and "the source fails: access denied; check the credentials" in done.stderr
    proxy.refused.clear()
    assert alexprep(*command).returncode == 0
    assert {
        str(path.relative_to(out)): digest(path.read_bytes()) for path in out.rglob("*") if path.is_file()
    } == expected


def test_an_object_that_is_deleted_after_the_listing_is_quarantined(remote_photos: str, tmp_path: Path) -> None:
    source = open_source(StoreUrl.parse(remote_photos))
    store_at(remote_photos).delete("train/class0/3.jpg")
    built, _ = build_shards(source, tmp_path / "out", BuildOptions(pixels=PixelOptions(size_px=32), num_workers=1))
    bad = built.shard_set.manifest.quarantined
    assert [(one.source, one.reason) for one in bad] == [("class0/3.jpg", "cannot be read: no such object")]


def test_an_output_below_its_source_is_never_read(remote_photos: str, expected: dict[str, str], tmp_path: Path) -> None:
    command = ("shard", remote_photos, "--out", f"{remote_photos}/shards", *OPTIONS)
    for said in ("train", "was complete"):
        done = alexprep(*command, TMPDIR=str(tmp_path))
        assert done.returncode == 0 and said in done.stdout, done.stderr
    assert f"folders of shard sets: {remote_photos}/shards" in done.stderr
    assert stored(f"{remote_photos}/shards") == expected


def test_a_writer_of_another_set_is_refused(photos: Path, s3: str, expected: dict[str, str], tmp_path: Path) -> None:
    out = f"{s3}/out"
    assert alexprep("shard", str(photos), "--out", out, *OPTIONS, TMPDIR=str(tmp_path)).returncode == 0
    other = alexprep("shard", str(photos), "--out", out, *OPTIONS, "--seed", "1", TMPDIR=str(tmp_path))
    assert other.returncode == 1 and "complete, but built differently (--seed was 0, now 1)" in other.stderr
    assert stored(out) == expected


def test_a_killed_writer_leaves_no_manifest_and_the_same_command_finishes(
    photos: Path, s3: str, expected: dict[str, str], through: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    proxy = through(latency_s=0.3)
    command = [sys.executable, "-m", "alexkit.cli.alexprep", "shard", str(photos), "--out", f"{s3}/out", *OPTIONS]
    with subprocess.Popen(
        command, env={**os.environ, "TMPDIR": str(tmp_path)}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as writer:
        while not any(method == "PUT" for method, _ in list(proxy.requests)) and writer.poll() is None:
            pass
        writer.kill()
    proxy.latency_s = 0.0
    assert not any(name.endswith("manifest.json") for name in stored(f"{s3}/out"))
    done = alexprep("shard", str(photos), "--out", f"{s3}/out", *OPTIONS, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert stored(f"{s3}/out") == expected


def test_a_list_of_urls_is_a_source(remote_photos: str, expected: dict[str, str], tmp_path: Path) -> None:
    store = store_at(remote_photos)
    names = [one.name for one in store.list_all()]
    rows = [f"{remote_photos}/{name},{name.split('/')[1]},{name.split('/')[0]}" for name in names]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows, ""]))
    done = alexprep("shard", str(tmp_path / "list.csv"), "--out", str(tmp_path / "out"), *OPTIONS)
    assert done.returncode == 0, done.stderr
    shards = {name: value for name, value in expected.items() if name.endswith((".tar", ".idx", "index.bin"))}
    assert {name: digest((tmp_path / "out" / name).read_bytes()) for name in shards} == shards


def test_shards_on_a_store_are_a_source_and_are_verified_there(
    photos: Path, s3: str, expected: dict[str, str], tmp_path: Path
) -> None:
    out = f"{s3}/out"
    assert alexprep("shard", str(photos), "--out", out, *OPTIONS, TMPDIR=str(tmp_path)).returncode == 0
    checked = alexprep("verify", out, TMPDIR=str(tmp_path))
    assert checked.returncode == 0 and "all good" in checked.stdout, checked.stderr
    again = alexprep("shard", out, "--out", str(tmp_path / "again"), *OPTIONS, TMPDIR=str(tmp_path))
    assert again.returncode == 0, again.stderr
    store = store_at(out)
    name = next(name for name in stored(out) if name.endswith(".tar"))
    content = bytearray(store.read(name))
    content[2000] ^= 1
    store.put_whole(name, bytes(content))
    damaged = alexprep("verify", out, TMPDIR=str(tmp_path))
    assert damaged.returncode == 1 and f"{out}/{name}" in damaged.stdout
    assert f"alexprep repair {out} SOURCE" in damaged.stderr


def test_no_copy_of_a_set_outlives_its_command(
    through: Callable[..., FaultProxy], photos: Path, s3: str, tmp_path: Path
) -> None:
    out = f"{s3}/out"
    assert alexprep("shard", str(photos), "--out", out, *OPTIONS, TMPDIR=str(tmp_path)).returncode == 0
    through(latency_s=1.0)
    command = [sys.executable, "-m", "alexkit.cli.alexprep", "verify", out]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    for number in (signal.SIGTERM, signal.SIGKILL):
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as reader:
            assert reader.stderr is not None
            assert any("copied to" in line for line in reader.stderr)
            reader.send_signal(number)
            said = reader.stderr.read()
        if number == signal.SIGTERM:
            assert reader.returncode == 130 and "interrupted" in said and "Traceback" not in said, said
            assert not list(tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 1  # of what was killed; the next command removes it
    missing = alexprep("verify", f"{s3}/nothing", TMPDIR=str(tmp_path))
    assert missing.returncode == 1 and f"Error: {s3}/nothing: nothing there" in missing.stderr, missing.stderr
    assert not list(tmp_path.iterdir())


def test_a_set_in_a_store_is_repaired_there_from_a_store(
    remote_photos: str, s3: str, expected: dict[str, str], tmp_path: Path
) -> None:
    out = f"{s3}/out"
    assert alexprep("shard", remote_photos, "--out", out, *OPTIONS, TMPDIR=str(tmp_path)).returncode == 0
    assert stored(out) == expected
    store = store_at(out)
    store.put_whole("train/train-00001.tar", b"x" + store.read("train/train-00001.tar")[1:])
    store.delete("val/val-00000.tar")
    other = alexprep("repair", out, f"{remote_photos}/val", TMPDIR=str(tmp_path))
    assert other.returncode == 1 and f"Error: {out}/train: class folders in" in other.stderr, other.stderr
    done = alexprep("repair", out, remote_photos, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}/train: train-00001.tar made again\n{out}/val: val-00000.tar made again\n"
    assert stored(out) == expected
    assert not list(tmp_path.iterdir())
    local = tmp_path / "shards/val"
    local.mkdir(parents=True)
    for name in (name for name in expected if name.startswith("val/")):
        (tmp_path / "shards" / name).write_bytes(store.read(name))
    (local / "val-00000.tar").unlink()
    assert alexprep("repair", str(local), remote_photos).returncode == 0
    assert digest((local / "val-00000.tar").read_bytes()) == expected["val/val-00000.tar"]


def test_a_readme_of_ones_own_stays_and_the_cards_list_all_splits(photos: Path, s3: str, tmp_path: Path) -> None:
    for split in ("train", "val"):
        rows = [f"{path},{path.parent.name}\n" for path in sorted((photos / split).rglob("*.jpg"))]
        (tmp_path / f"{split}.csv").write_text("path,label\n" + "".join(rows))
    store_at(f"{s3}/mine").put_whole("README.md", b"mine")
    for out in ("mine", "ours"):
        for split in ("train", "val"):
            words = ("shard", str(tmp_path / f"{split}.csv"), "--out", f"{s3}/{out}", *OPTIONS)
            done = alexprep(*words, TMPDIR=str(tmp_path))
            assert done.returncode == 0, done.stderr
        info = json.loads(store_at(f"{s3}/{out}").read("_info.json"))
        assert {name: row["num_samples"] for name, row in info["splits"].items()} == {"train": 30, "val": 6}
    assert store_at(f"{s3}/mine").read("README.md") == b"mine"
    card = store_at(f"{s3}/ours").read("README.md").decode()
    assert "train/train-*.tar" in card and "val/val-*.tar" in card
    with hub() as server:
        settings = {"HF_ENDPOINT": server.url, "HF_TOKEN": "right", "HF_HUB_DISABLE_XET": "1"}
        settings |= {"HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1", "TMPDIR": str(tmp_path)}
        done = alexprep("push", f"{s3}/ours", "me/ours", **settings)
        assert done.returncode == 0, done.stderr
        sent = {path: digest(content) for (_, path), content in server.files.items()}
    names = [name for name in stored(f"{s3}/ours") if "/" in name]
    assert {name: sent[name] for name in names} == {name: stored(f"{s3}/ours")[name] for name in names}


@pytest.mark.parametrize("case", ["bad signature", "missing", "no server"])
def test_no_secret_is_printed_or_written(photos: Path, s3: str, tmp_path: Path, case: str) -> None:
    wrong = "wrongSecret0123456789wrongSecret012345678"
    changed = {
        "bad signature": {"AWS_SECRET_ACCESS_KEY": wrong, "AWS_SESSION_TOKEN": "tokenNobodyMayPrint"},
        "missing": {},
        "no server": {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
    }[case]
    texts = []
    for arguments in (
        ("shard", "--debug", f"{s3}/nothing", "--out", str(tmp_path / "out")),
        ("shard", str(photos), "--out", f"{s3}/out", *OPTIONS) if case != "missing" else ("verify", f"{s3}/nothing"),
        ("verify", "s3://me:urlPassword@bucket/set"),
    ):
        done = alexprep(*arguments, TMPDIR=str(tmp_path), **changed)
        assert done.returncode != 0
        texts += [done.stdout, done.stderr]
    texts += [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    for secret in (ACCESS_KEY, SECRET_KEY, wrong, "tokenNobodyMayPrint", "urlPassword", "Signature="):
        assert not any(secret in text for text in texts), (case, secret)


def test_parts_in_a_store_are_listed_once_and_finished_by_whoever_comes_last(
    remote_photos: str, s3: str, expected: dict[str, str], through: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    """Out of order, doubled and at once; every process has its own scratch folder, as machines have."""
    proxy = through()
    out = f"{s3}/out"
    words = ("shard", remote_photos, "--out", out, *OPTIONS)
    first = alexprep(*words, "--part", "2/3", TMPDIR=str(tmp_path))
    assert first.returncode == 0 and "this part is done" in first.stderr, first.stderr
    assert not any(name.endswith("manifest.json") for name in stored(out))
    listings = sum(count for (_, path), count in proxy.requests.items() if path == "/bucket")
    command = [sys.executable, "-m", "alexkit.cli.alexprep", *words]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    runs = [
        subprocess.Popen([*command, "--part", part], env=environment, stderr=subprocess.PIPE, text=True)
        for part in ("0/3", "1/3", "1/3")
    ]
    for run in runs:
        _, stderr = run.communicate(timeout=200)
        assert run.returncode == 0, stderr
    assert stored(out) == expected and listings
    assert not list(tmp_path.iterdir())
    last = alexprep(*words, TMPDIR=str(tmp_path))
    assert last.returncode == 0 and "was complete" in last.stdout, last.stderr


def test_a_run_of_all_in_a_store_does_what_parts_left(
    photos: Path, s3: str, expected: dict[str, str], tmp_path: Path
) -> None:
    out = f"{s3}/out"
    words = ("shard", str(photos), "--out", out, *OPTIONS)
    assert alexprep(*words, "--part", "0/2", TMPDIR=str(tmp_path)).returncode == 0
    other = alexprep(*words, "--seed", "3", TMPDIR=str(tmp_path))
    assert "alexkit-out" not in other.stderr and f"{out}/val: complete" in other.stderr
    assert other.returncode == 1 and "(--seed was 0, now 3)" in other.stderr
    store = store_at(out)
    part = next(name for name in stored(out) if name.endswith(".part"))
    store.put_whole(part, store.read(part)[:-1])  # damaged: its shard is written again
    shard = next(name for name in stored(out) if name.endswith("train-00002.tar"))
    store.put_whole(shard, store.read(shard)[:-1] + b"x")  # changed behind our back, at its size
    done = alexprep(*words, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert stored(out) == expected


def test_what_is_not_of_a_run_is_not_overwritten(photos: Path, s3: str, tmp_path: Path) -> None:
    store_at(f"{s3}/out").put_whole("train/mine.txt", b"mine")
    done = alexprep("shard", str(photos), "--out", f"{s3}/out", *OPTIONS, TMPDIR=str(tmp_path))
    assert done.returncode == 1 and "neither a shard set nor an unfinished run" in done.stderr
    assert list(stored(f"{s3}/out")) == ["train/mine.txt"]


def test_two_writers_of_different_sets_at_once_leave_one_whole_set(
    photos: Path, s3: str, expected: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "alexkit.cli.alexprep", "shard", str(photos), "--out", f"{s3}/out", *OPTIONS]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    runs = [
        subprocess.Popen([*command, *more], env=environment, stderr=subprocess.PIPE, text=True)
        for more in ((), ("--seed", "1"))
    ]
    errors = [run.communicate(timeout=200)[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 1], errors
    refused = errors[0] if runs[0].returncode else errors[1]
    assert "differs (--seed" in refused or "built differently" in refused
    found = stored(f"{s3}/out")
    assert runs[0].returncode or found == expected
    assert sum(name.endswith("manifest.json") for name in found) == 2


def test_a_cluster_writes_into_a_store(photos: Path, s3: str, expected: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    done = alexprep("shard", str(photos), "--out", f"{s3}/out", *OPTIONS, "--engine", "ray", RAY_ADDRESS="")
    assert done.returncode == 0, done.stderr
    assert stored(f"{s3}/out") == expected


def test_a_set_counts_as_complete_when_the_store_has_it(photos: Path, s3: str, tmp_path: Path) -> None:
    out = f"{s3}/out"
    source = open_source(photos)
    builds = []
    for name in ("early", "late"):  # two machines that began before any set was complete
        shared = SharedRun(StoreUrl.parse(out), tmp_path / name)
        shared.pull()
        options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=8)
        split = source.splits[0]
        of_split = shared.of_split(split.name)
        folder, parts = tmp_path / name / split.name, tmp_path / name / ".unfinished"
        builds.append(
            SplitBuild(split=split, folder=folder, parts=parts, options=options, software={}, shared=of_split)
        )
    early, late = builds
    early.folder.mkdir(parents=True)
    (early.folder / "manifest.json").write_bytes(b"{}")  # written, and never sent
    with pytest.raises(OSError, match="cut off"), _unless_complete([early]):
        raise OSError("cut off")
    assert alexprep("shard", str(photos), "--out", out, *OPTIONS, TMPDIR=str(tmp_path)).returncode == 0
    with _unless_complete([late]):
        raise OSError("a part that the other machine removed")
    assert ShardSet.open(late.folder).manifest.num_samples == 30
    with pytest.raises(InputError, match="another set"), _unless_complete([early]):
        raise InputError("another set was written there in the meantime")
