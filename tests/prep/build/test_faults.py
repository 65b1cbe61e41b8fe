"""Laws of interruption: whatever stops a run, only whole files have final names, and the same command ends the same."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from alexkit.cli.alexprep import alexprep
from alexkit.prep.build.build import WORK_FOLDER, BuildOptions, build_shards
from alexkit.prep.format.files import create_once, whole_file
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources.recognize import open_source

from ..sources.records import packed_as_records

COMMAND = [str(Path(sys.executable).with_name("alexprep")), "shard"]
OPTIONS = ["--size", "32", "--images-per-shard", "3", "--workers", "2"]


def start(source: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [*COMMAND, str(source), "--out", str(out), *OPTIONS, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(source: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    process = start(source, out, *options)
    stdout, stderr = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # empty for a process that only waits to be reaped
    except FileNotFoundError:
        return False


def descendants_of(pid: int) -> list[int]:
    """The processes that a process started, and theirs."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [one for child in children for one in (child, *descendants_of(child))]


@pytest.fixture
def endless(tmp_path: Path, draw_source: Callable[..., Path]) -> Iterator[tuple[Path, Path, subprocess.Popen[str]]]:
    """A run that stops in the middle until it is ended: one of its inputs is a pipe that nobody writes to."""
    source = draw_source(splits=("train",))
    os.mkfifo(source / "train/n00000000/stuck.JPEG")
    process = start(source, tmp_path / "out")
    wait_for(lambda: len(list((tmp_path / "out/train").glob("*.tar"))) >= 4)
    yield source, tmp_path / "out", process
    process.kill()
    process.communicate()


@pytest.mark.faults
@pytest.mark.parametrize("num_kills", [4, pytest.param(25, marks=pytest.mark.slow)])
@pytest.mark.parametrize("layout", ["class-folders", pytest.param("recordio", marks=pytest.mark.slow)])
def test_kill_9_at_random_points_ends_in_the_bytes_of_an_undisturbed_run(
    tmp_path: Path,
    draw_source: Callable[..., Path],
    tree_hashes: Callable[[Path], dict[str, str]],
    num_kills: int,
    layout: str,
) -> None:
    source, out = draw_source(images_per_class=14), tmp_path / "out"
    (source / "train/n00000001/bad.JPEG").write_bytes(b"no image")
    if layout == "recordio":
        source = packed_as_records(source, tmp_path / "records")
    begin = time.monotonic()
    assert finish(source, tmp_path / "undisturbed").returncode == 0
    duration = time.monotonic() - begin
    expected = tree_hashes(tmp_path / "undisturbed")
    rng = np.random.default_rng(num_kills)
    killed = finished = 0
    while killed < num_kills or finished == 0:
        process = start(source, out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.02, 1) * duration if killed < num_kills else 120)
        if process.returncode is None:
            processes = descendants_of(process.pid)
            process.kill()
            killed += 1
            wait_for(lambda pids=tuple(processes): not any(map(is_alive, pids)))
        said = process.communicate()
        final = {name: digest for name, digest in tree_hashes(out).items() if name in expected} if out.exists() else {}
        assert final.items() <= expected.items(), "a final name with other content"
        assert process.returncode in (0, -signal.SIGKILL), said
        if process.returncode == 0:
            assert tree_hashes(out) == expected
            finished += 1
            shutil.rmtree(out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_one_line_and_the_same_command_continues(
    endless: tuple[Path, Path, subprocess.Popen[str]],
    number: int,
    tmp_path: Path,
    tree_hashes: Callable[[Path], dict[str, str]],
) -> None:
    source, out, process = endless
    workers = descendants_of(process.pid)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert (
        stderr.splitlines()[-1] == f"interrupted; finished shards are kept in {out}; the same command continues"
        and "Traceback" not in stderr
    )
    wait_for(lambda: not any(map(is_alive, workers)))
    finished = {path: path.stat().st_mtime_ns for path in (out / "train").glob("*.tar")}
    assert finished and not (out / "train/manifest.json").exists()
    (source / "train/n00000000/stuck.JPEG").unlink()
    (source / "train/n00000000/stuck.JPEG").touch()
    assert finish(source, out).returncode == 0
    redone = [path for path, before in finished.items() if path.stat().st_mtime_ns != before]
    assert len(redone) <= 1, "more was redone than the shards in flight"
    assert finish(source, tmp_path / "undisturbed").returncode == 0
    assert tree_hashes(out) == tree_hashes(tmp_path / "undisturbed")


def test_a_second_run_is_refused_at_once_and_names_the_owner(
    endless: tuple[Path, Path, subprocess.Popen[str]],
) -> None:
    source, out, process = endless
    second = finish(source, out)
    assert second.returncode == 1
    assert f"process {process.pid} on " in second.stderr and "is writing shards there" in second.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seed", "1"], "(--seed was 0, now 1)"),
        (["--quality", "80"], "(--quality was 95, now 80)"),
        (["--format", "png"], "(--format was jpeg, now png)"),
    ],
)
def test_an_unfinished_run_with_other_options_is_refused_with_the_difference(
    endless: tuple[Path, Path, subprocess.Popen[str]], options: list[str], words: str
) -> None:
    source, out, process = endless
    process.kill()
    process.communicate()
    refused = finish(source, out, *options)
    assert refused.returncode == 1 and "unfinished run that differs" in refused.stderr and words in refused.stderr


def test_an_unfinished_run_of_a_changed_source_is_refused_with_the_difference(
    endless: tuple[Path, Path, subprocess.Popen[str]],
) -> None:
    source, out, process = endless
    process.kill()
    process.communicate()
    (source / "train/n00000002/n00000002_0.JPEG").unlink()
    refused = finish(source, out)
    assert refused.returncode == 1 and "train images of n00000002 was 5, now 4" in refused.stderr


@pytest.mark.faults
@pytest.mark.parametrize("what", ["worker", "fork server"])
def test_a_process_that_dies_is_replaced_and_its_shard_redone(
    tmp_path: Path, draw_source: Callable[..., Path], tree_hashes: Callable[[Path], dict[str, str]], what: str
) -> None:
    source = open_source(draw_source(splits=("train",), images_per_class=30))
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=5, num_workers=2)
    num_killed = 0

    def kill_one(done: int, num_bad: int) -> None:
        nonlocal num_killed
        if num_killed < 2 and done > 15 * num_killed:
            for child in multiprocessing.active_children()[:1]:
                server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
                pid = child.pid if what == "worker" else server
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                num_killed += 1

    build_shards(source, tmp_path / "killed", options, on_split=lambda split: kill_one)
    build_shards(source, tmp_path / "quiet", options, on_split=lambda split: lambda done, num_bad: None)
    assert num_killed == 2
    assert tree_hashes(tmp_path / "killed") == tree_hashes(tmp_path / "quiet")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 192 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_one_line_and_the_same_command_continues_when_there_is_room(
    small_disk: Path, tmp_path: Path, draw_source: Callable[..., Path], tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    source, out = draw_source(images_per_class=12), small_disk / "out"
    full = finish(source, out)
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert "No space left on device" in full.stderr.splitlines()[-1]
    assert not (out / "train/manifest.json").exists() or not (out / "val/manifest.json").exists()
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    assert finish(source, out).returncode == 0
    assert finish(source, tmp_path / "undisturbed").returncode == 0
    assert tree_hashes(out) == tree_hashes(tmp_path / "undisturbed")
    assert not (out / WORK_FOLDER).exists()


def test_of_a_read_only_disk_complete_sets_are_reported_and_the_rest_is_one_line(
    small_disk: Path, tmp_path: Path, draw_source: Callable[..., Path], tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    source, out = draw_source(images_per_class=2), small_disk / "out"
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    build_shards(open_source(source), out, BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=3))
    before = tree_hashes(out)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    again = finish(source, out)
    assert again.returncode == 0 and again.stdout.count("(was complete)") == 2, again.stderr
    assert finish(source, out, "--part", "0/2").returncode == 0
    for options in ((), ("--part", "0/2")):
        refused = finish(source, small_disk / "other", *options)
        assert refused.returncode == 1 and "Traceback" not in refused.stderr and ".partial" not in refused.stderr
        assert "Read-only file system" in refused.stderr.splitlines()[-1]

    for command, names in (("pca", ["mean.png", "pca.json", "pca.png"]), ("inspect", ["inspect.html"])):
        line = [command, str(out), "--json", "--workers", "1"]
        shown = CliRunner().invoke(alexprep, line)
        assert shown.exit_code == 0 and json.loads(shown.stdout), shown.stderr
        assert f"not writable, so {names[0] if len(names) == 1 else 'pca.json'}" in shown.stderr
        assert CliRunner().invoke(alexprep, [*line, "--out", str(tmp_path / command)]).exit_code == 0
        assert sorted(path.name for path in (tmp_path / command).iterdir()) == names
        refused_out = CliRunner().invoke(alexprep, [*line, "--out", str(small_disk)])
        assert refused_out.exit_code == 1 and not refused_out.stdout
        assert "not writable; choose another folder with --out" in refused_out.stderr
    with pytest.raises(OSError, match="Read-only") as error, whole_file(out / "file"):
        pass
    assert error.value.filename == str(out / "file")
    with pytest.raises(OSError, match="Read-only") as error:
        create_once(out / "file", b"")
    assert error.value.filename == str(out / "file")
    assert tree_hashes(out) == before
