"""On Ray the commands that read or write whole sets give what they give on this machine's own processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..sources.records import packed_as_records

pytestmark = pytest.mark.slow

DYING = """
import os, signal
from alexkit.errors import InputError
from alexkit.prep.workers import ray_engine

def die(job, heartbeat, poisoned):
    with open("given-out", "a") as file:
        file.write("once\\n")
    with open(f"/proc/{os.getppid()}/status") as file:  # the process that started us, and its parent: Ray's worker
        parent = next(int(line.split()[1]) for line in file if line.startswith("PPid:"))
    os.kill(parent, signal.SIGKILL)

if __name__ == "__main__":
    from dying import die
    try:
        list(ray_engine.run_jobs_on_ray(die, [(0, 1)], num_workers=1, on_progress=lambda done: None))
    except InputError as error:
        print(error)
"""

OPTIONS = ("--size", "32", "--images-per-shard", "4", "--workers", "2")


@pytest.fixture(autouse=True)
def ray() -> None:
    pytest.importorskip("ray")


def alexprep(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "alexkit.cli.alexprep", *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def script(folder: Path, name: str, text: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    (folder / name).write_text(text)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | variables
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), *sys.path])
    return subprocess.run(
        [sys.executable, name], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("layout", ["class-folders", "recordio"])
def test_a_cluster_gives_what_this_machine_gives(
    draw_source: Callable[..., Path], tmp_path: Path, tree_hashes: Callable[[Path], dict[str, str]], layout: str
) -> None:
    """Sharding, verification, principal colors and repair."""
    source = draw_source(splits=("train",), images_per_class=8)
    if layout == "recordio":
        source = packed_as_records(source, tmp_path / "records")
    here, there = tmp_path / "here", tmp_path / "there"
    assert alexprep("shard", source, "--out", here, *OPTIONS).returncode == 0
    done = alexprep("shard", source, "--out", there, *OPTIONS, "--engine", "ray")
    assert done.returncode == 0, done.stderr
    assert tree_hashes(there) == tree_hashes(here)

    colors = [alexprep("pca", folder, "--json", *more) for folder, more in ((here, ()), (there, ("--engine", "ray")))]
    assert [one.returncode for one in colors] == [0, 0], colors[1].stderr
    assert json.loads(colors[0].stdout) == json.loads(colors[1].stdout)

    shard = there / "train/train-00001.tar"
    content = bytearray(shard.read_bytes())
    content[3000] ^= 1
    shard.write_bytes(content)
    found = [alexprep("verify", there, "--json", *more) for more in ((), ("--engine", "ray"))]
    assert [one.returncode for one in found] == [1, 1] and found[0].stdout == found[1].stdout, found[1].stderr
    mended = alexprep("repair", there, source, "--engine", "ray")
    assert mended.returncode == 0 and "train-00001.tar made again" in mended.stdout, mended.stderr
    assert shard.read_bytes() == (here / "train/train-00001.tar").read_bytes()


def test_an_error_of_a_worker_is_one_line(draw_source: Callable[..., Path], tmp_path: Path) -> None:
    source = draw_source(splits=("train",), images_per_class=2)
    for path in source.rglob("*.JPEG"):
        path.write_bytes(b"no image")
    done = alexprep("shard", source, "--out", tmp_path / "out", *OPTIONS, "--engine", "ray", "--max-bad", "0")
    assert done.returncode == 1 and "at most 0 allowed" in done.stderr and "Traceback" not in done.stderr


UNPREPARED = """
import ray
from alexkit.errors import InputError
from alexkit.prep.workers import ray_engine

def work(job, heartbeat, poisoned):
    return job

if __name__ == "__main__":
    from unprepared import work
    ray.init(num_cpus=1, include_dashboard=False, _node_ip_address="127.0.0.1", runtime_env={"conda": "no-such-one"})
    try:
        list(ray_engine.run_jobs_on_ray(work, [(0, 1)], num_workers=1, on_progress=lambda done: None))
    except InputError as error:
        print(error)
"""


def test_what_ray_says_of_a_job_it_could_not_start_is_not_taken_for_a_lost_worker(tmp_path: Path) -> None:
    done = script(tmp_path, "unprepared.py", UNPREPARED, RAY_AUTH_MODE="disabled")
    assert "the Ray cluster could not run a job (RuntimeEnvSetupError: " in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1 and "died" not in done.stdout


def test_a_job_that_takes_every_worker_with_it_ends_the_run(tmp_path: Path) -> None:
    """As one that needs more memory than the nodes have."""
    done = script(tmp_path, "dying.py", DYING)
    assert "a job was submitted 5 times, and its worker or node died each time" in done.stdout, done.stderr
    assert (tmp_path / "given-out").read_text().count("once") == 5
