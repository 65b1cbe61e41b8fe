"""Laws of shared work: in any order, twice or at once, whoever ends last completes the set, to the same bytes."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexkit.errors import InputError
from alexkit.prep import BuildOptions, PixelOptions, build_shards, open_source
from alexkit.prep.build import build as build_module
from alexkit.prep.build.kept_listing import source_of_part
from alexkit.prep.build.part import PartJob, load_part, part_name, save_part
from alexkit.prep.build.shard_job import ShardJob, ShardResult
from alexkit.prep.format.files import create_once, whole_file
from alexkit.prep.format.stats import PixelSums
from alexkit.prep.sources import Source, SourceOptions

TreeHashes = Callable[[Path], dict[str, str]]
DrawSource = Callable[..., Path]
COMMAND = [str(Path(sys.executable).with_name("alexprep")), "shard"]
OPTIONS = ["--size", "32", "--images-per-shard", "4", "--workers", "1"]


def build(source: Path, out: Path, part: tuple[int, int] | None = None) -> list[str]:
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, num_workers=1, part=part)
    return [split.shard_set.manifest.split for split in build_shards(open_source(source), out, options)]


def test_parts_in_any_order_and_doubled_give_the_bytes_of_one_run(
    draw_source: DrawSource, tmp_path: Path, tree_hashes: TreeHashes
) -> None:
    source = draw_source()
    build(source, tmp_path / "one")
    shared = tmp_path / "shared"
    for number in (2, 0, 2, 1):
        complete = build(source, shared, (number, 3))
        assert complete == (["train", "val"] if number == 1 else [])
    assert tree_hashes(shared) == tree_hashes(tmp_path / "one")
    assert build(source, shared, (0, 3)) == ["train", "val"]


def test_parts_at_once_beside_a_run_of_all_give_the_bytes_of_one_run(
    draw_source: DrawSource, tmp_path: Path, tree_hashes: TreeHashes
) -> None:
    source = draw_source(images_per_class=8)
    build(source, tmp_path / "one")
    command = [*COMMAND, str(source), "--out", str(tmp_path / "shared"), *OPTIONS]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    parts = ("0/2", "1/2", "1/2")
    runs = [subprocess.Popen([*command, "--part", part], **pipes) for part in parts]  # type: ignore[call-overload]
    runs.append(subprocess.Popen(command, **pipes))  # type: ignore[call-overload]
    for run in runs:
        _, stderr = run.communicate(timeout=120)
        assert run.returncode == 0, stderr
    assert tree_hashes(tmp_path / "shared") == tree_hashes(tmp_path / "one")


def _write_slowly(path: Path, seed: int, ready: "multiprocessing.synchronize.Barrier") -> None:
    content = np.random.default_rng(seed).bytes(100_000)
    for _ in range(100):
        ready.wait()
        with whole_file(path) as file:
            for start in range(0, len(content), 10_000):
                file.write(content[start : start + 10_000])


def test_two_writers_of_one_file_never_mix(tmp_path: Path) -> None:
    """Of different content, 100 times at once: what has the name is always the content of one of them."""
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(3)
    path = tmp_path / "file"
    writers = [context.Process(target=_write_slowly, args=(path, seed, ready)) for seed in range(2)]
    whole = {hashlib.sha256(np.random.default_rng(seed).bytes(100_000)).hexdigest() for seed in range(2)}
    for writer in writers:
        writer.start()
    num_seen = 0
    for _ in range(100):
        ready.wait()
        for _ in range(5):
            if path.exists():
                assert hashlib.sha256(path.read_bytes()).hexdigest() in whole
                num_seen += 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert num_seen > 100 and [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_file_is_created_by_one_of_many(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        made = pool.starmap(create_once, [(tmp_path / "plan", bytes([i]) * 1000) for i in range(50)])
    assert sum(made) == 1 and (tmp_path / "plan").read_bytes() == bytes([made.index(True)]) * 1000
    assert [one.name for one in tmp_path.iterdir()] == ["plan"]


def test_a_machine_that_prepares_other_bytes_is_refused(
    draw_source: DrawSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = draw_source(splits=("train",))
    build(source, tmp_path / "out", (0, 2))
    monkeypatch.setattr(build_module, "probe_digest", lambda pixels: "0" * 64)
    with pytest.raises(
        InputError, match=r"unfinished run that differs \(the image libraries of this machine produce different bytes"
    ):
        build(source, tmp_path / "out", (1, 2))
    monkeypatch.undo()
    monkeypatch.setattr(build_module, "_description_of_run", lambda *rest: {"probe": "1" * 64})
    monkeypatch.setattr(build_module, "probe_digest", lambda pixels: "1" * 64)
    with pytest.raises(InputError, match="the built-in test image becomes different bytes"):
        build(source, tmp_path / "other")


@pytest.mark.parametrize("damage", ["flip", "empty", "garbage", "cut", "plan"])
def test_a_damaged_file_of_an_unfinished_run_is_named_and_made_again(
    draw_source: DrawSource,
    tmp_path: Path,
    tree_hashes: TreeHashes,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    source = draw_source(splits=("train",))
    build(source, tmp_path / "one")
    build(source, tmp_path / "out", (0, 2))
    path = tmp_path / "out/.unfinished" / ("plan.json" if damage == "plan" else "train/00002.part")
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    harmed = {"flip": bytes(flipped), "empty": b"", "garbage": b"x" * 99, "cut": good[:-9], "plan": good[:-9]}
    path.write_bytes(harmed[damage])
    build(source, tmp_path / "out")
    assert tree_hashes(tmp_path / "out") == tree_hashes(tmp_path / "one")
    assert any(str(path) in message and "damaged" in message for message in caplog.messages)


def test_every_changed_byte_of_a_part_is_found(tmp_path: Path) -> None:
    path = tmp_path / part_name(3)
    shard = ShardJob(path=path, number=3, first_position=0, images=[], pixels=PixelOptions())
    job = PartJob(shard=shard, parts=tmp_path, plan_sha256="plan", probe="")
    save_part(job, ShardResult(written=None, sums=PixelSums.zero(8)))
    assert load_part(path, "plan") is not None and load_part(path, "another") is None
    good = path.read_bytes()
    for position in range(0, len(good), 5):
        content = bytearray(good)
        content[position] ^= 1 << (position % 8)
        path.write_bytes(content)
        assert load_part(path, "plan") is None


def test_a_finished_shard_that_changed_meanwhile_is_written_again(
    draw_source: DrawSource, tmp_path: Path, tree_hashes: TreeHashes
) -> None:
    source = draw_source(splits=("train",))
    build(source, tmp_path / "one")
    build(source, tmp_path / "out", (0, 2))
    shard = tmp_path / "out/train/train-00002.tar"
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    build(source, tmp_path / "out")
    assert tree_hashes(tmp_path / "out") == tree_hashes(tmp_path / "one")


def test_a_run_is_continued_from_another_folder_and_files_follow_the_umask(
    draw_source: DrawSource, tmp_path: Path, tree_hashes: TreeHashes, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = draw_source(splits=("train",))
    build(source, tmp_path / "one")
    before = os.umask(0o027)
    try:
        monkeypatch.chdir(tmp_path)
        build(Path(source.name), Path("out"), (0, 2))
        monkeypatch.chdir(source)
        build(Path(), Path("../out"))
    finally:
        os.umask(before)
    assert tree_hashes(tmp_path / "out") == tree_hashes(tmp_path / "one")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*") if path.is_file()} == {0o640}


def test_a_relative_image_root_is_that_of_the_current_folder(
    draw_source: DrawSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that was run from another folder once read the images of that folder under the same paths."""
    images = sorted(draw_source(splits=("train",)).rglob("*.JPEG"))
    (tmp_path / "l.csv").write_text("path,label\n" + "".join(f"{i}.jpg,{i % 2}\n" for i in range(8)))
    for name, drawn in (("one", images[:8]), ("two", images[-8:])):
        (tmp_path / name / "imgs").mkdir(parents=True)
        for i, image in enumerate(drawn):
            (tmp_path / name / f"imgs/{i}.jpg").write_bytes(image.read_bytes())
    options = SourceOptions(image_root="imgs")

    def listed_in(name: str) -> Source:
        monkeypatch.chdir(tmp_path / name)
        return source_of_part(tmp_path / "l.csv", options, tmp_path / "out")

    one, again, two = listed_in("one"), listed_in("one"), listed_in("two")
    assert one.splits[0].fingerprint() == again.splits[0].fingerprint() != two.splits[0].fingerprint()
    (tmp_path / "three").mkdir()
    with pytest.raises(InputError, match="--image-root imgs: no such folder"):
        listed_in("three")


@pytest.mark.parametrize("part", ["2/2", "x/2", "1", "-1/2", "0/0"])
def test_an_impossible_part_is_one_line(draw_source: DrawSource, tmp_path: Path, part: str) -> None:
    source = draw_source(splits=("train",))
    command = [*COMMAND, str(source), "--out", str(tmp_path / "out"), "--part", part]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2 and "expected I/N with I from 0 to N - 1" in run.stderr


@pytest.mark.slow
def test_ray_gives_the_bytes_of_local_workers(draw_source: DrawSource, tmp_path: Path, tree_hashes: TreeHashes) -> None:
    pytest.importorskip("ray")
    source = draw_source()
    build(source, tmp_path / "one")
    command = [*COMMAND, str(source), "--out", str(tmp_path / "ray"), *OPTIONS, "--engine", "ray"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert run.returncode == 0, run.stderr
    assert tree_hashes(tmp_path / "ray") == tree_hashes(tmp_path / "one")
