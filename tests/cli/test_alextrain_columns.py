"""`alextrain --columns 2` as a person runs it: real processes, signals from outside."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.model.processes.launch import _free_port
from alexkit.model.runs.checkpoint import newest_checkpoint

# Columns that meet, less the layers that hold nine tenths of the weights.
# float32 by name: numbers are compared, and what crosses is counted in bytes.
SMALL = ["--set", "network.without=['fc6', 'fc7']", "--set", "training.batch_size=8", "--set", "training.epochs=2"]
SMALL += ["--set", "training.precision=fp32", "--recipe", "paper"]


@pytest.fixture(scope="module")
def shards(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    (folder / "train").symlink_to(draw_shards(num_samples=34, size_px=232))
    (folder / "val").symlink_to(draw_shards(num_samples=9, size_px=232, split="val"))
    return folder


def start(shards: Path, runs: Path, columns: int, *words: str, timeout_s: int = 60) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "alexkit.cli.alextrain", "--shards", str(shards), "--runs", str(runs)]
    environment = {**os.environ, "ALEXKIT_TIMEOUT_S": str(timeout_s)}
    return subprocess.Popen(
        [*command, "--columns", str(columns), *SMALL, *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def numbers(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def wait_for_steps(process: subprocess.Popen[str], folder: Path) -> None:
    """Until training is well under way: the first epoch is in the log."""
    while not ((folder / "log.jsonl").exists() and numbers(folder)):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)


def wait_until_gone(pids: list[int]) -> None:
    """Until these processes have ended; they are nobody's children here."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended, _, _ = select.select([descriptor], [], [], 240)  # one that would stay is no endless test
        os.close(descriptor)
        assert ended, f"process {pid} goes on"


def column_pids(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def one_process(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("one")
    process = start(shards, runs, 1)
    assert process.wait() == 0, process.communicate()[1]
    return runs / "paper"


def test_a_killed_column_ends_the_run_in_words_and_leaves_nothing_running(shards: Path, tmp_path: Path) -> None:
    process = start(shards, tmp_path, 2)
    wait_for_steps(process, tmp_path / "paper")
    pids = column_pids(process)
    os.kill(pids[1], signal.SIGKILL)
    _, words = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "process 1 of 2 was killed by SIGKILL" in words and "Traceback" not in words
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_dry_run_of_two_columns_tells_what_crosses_and_leaves_nothing(shards: Path, tmp_path: Path) -> None:
    process = start(shards, tmp_path / "runs", 2, "--dry-run")
    out, words = process.communicate()
    assert process.returncode == 0, words
    # Half of conv3's and fc8's inputs, forward and back, and half of four logits; float32, eight images.
    assert f"each process sends {4 * 8 * (43_264 + 9_216 + 2):,} bytes per step" in out
    assert "2 epochs take about" in out and "in each process" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_column_that_stands_still_is_named_and_ended(shards: Path, tmp_path: Path) -> None:
    process = start(shards, tmp_path, 2, "--set", "training.epochs=100", timeout_s=10)
    wait_for_steps(process, tmp_path / "paper")
    pids = column_pids(process)
    os.kill(pids[1], signal.SIGSTOP)
    _, words = process.communicate(timeout=120)  # it would stand still for ever
    assert process.returncode == 1
    assert "process 0 of 2 lost process 1, which ended, failed or did not answer in time" in words
    assert "run the same command again to continue" in words and "Traceback" not in words
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_columns_whose_launcher_is_killed_save_a_common_step_and_end(shards: Path, tmp_path: Path) -> None:
    process = start(shards, tmp_path, 2, "--set", "training.epochs=100")
    wait_for_steps(process, tmp_path / "paper")
    pids = column_pids(process)
    assert len(pids) == 2
    process.kill()
    process.wait()
    wait_until_gone(pids)
    checkpoint = newest_checkpoint(tmp_path / "paper" / "checkpoints")
    assert checkpoint is not None
    # The last line is of an epoch's end; what was saved is the step that was under way, or that line's own.
    assert checkpoint.step >= numbers(tmp_path / "paper")[-1]["step"]


def test_processes_whose_torchrun_is_killed_save_a_common_step_and_end(shards: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [
        "-m",
        "alexkit.cli.alextrain",
        "--shards",
        str(shards),
        "--runs",
        str(tmp_path),
        "--columns",
        "2",
        *SMALL,
    ]
    # To files: a pipe whose reader is gone would end the processes by itself.
    with (tmp_path / "words").open("wb") as words:
        agent = subprocess.Popen(
            [*torchrun, *command, "--set", "training.epochs=100"], stdout=words, stderr=words, text=True
        )
        wait_for_steps(agent, tmp_path / "paper")
        pids = column_pids(agent)
        agent.kill()
        agent.wait()
        wait_until_gone(pids)
    checkpoint = newest_checkpoint(tmp_path / "paper" / "checkpoints")
    assert len(pids) == 2 and checkpoint is not None
    assert checkpoint.step >= numbers(tmp_path / "paper")[-1]["step"]
    assert "Traceback" not in (tmp_path / "words").read_text()


def test_sigterm_to_a_column_saves_one_common_step_and_the_same_command_ends_like_one_process(
    shards: Path, one_process: Path, tmp_path: Path
) -> None:
    process = start(shards, tmp_path, 2, "--restart")
    wait_for_steps(process, tmp_path / "paper")
    os.kill(column_pids(process)[1], signal.SIGTERM)
    _, words = process.communicate(timeout=240)
    assert (
        process.returncode == 130 and "the same command without --restart resumes" in words and "Traceback" not in words
    ), words
    process = start(shards, tmp_path, 2)
    out, words = process.communicate()
    assert process.returncode == 0 and "resuming after step" in words
    assert "9 images after 2 epochs" in out and (tmp_path / "paper" / "filters.png").exists()
    found, expected = numbers(tmp_path / "paper"), numbers(one_process)
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    assert [line["loss"] for line in found] == pytest.approx([line["loss"] for line in expected], rel=1e-5)


def test_the_columns_are_given_the_arguments_as_they_were_typed(shards: Path, tmp_path: Path) -> None:
    process = start(shards, tmp_path, 2, "--name", "exp/one", "--set", "training.epochs=1")
    out, words = process.communicate()
    assert process.returncode == 0, words
    assert (tmp_path / "exp" / "one" / "result.json").exists() and "exp/one/filters.png" in out


@pytest.mark.slow
def test_where_the_first_process_stands_still_the_launcher_ends_in_the_same_time(shards: Path, tmp_path: Path) -> None:
    process = start(shards, tmp_path, 2, "--set", "training.epochs=100", timeout_s=10)
    wait_for_steps(process, tmp_path / "paper")
    pids = column_pids(process)
    os.kill(pids[0], signal.SIGSTOP)
    _, words = process.communicate(timeout=120)  # it would wait for ever
    assert process.returncode == 1
    assert "process 1 of 2 lost process 0, which ended, failed or did not answer in time" in words
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("number", [pytest.param(signal.SIGHUP, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_to_the_launcher_and_to_every_column_is_one_request(
    shards: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(shards, tmp_path, 2, "--set", "training.epochs=100")
    wait_for_steps(process, tmp_path / "paper")
    for pid in (*column_pids(process), process.pid):
        os.kill(pid, number)
    _, words = process.communicate()
    assert process.returncode == 130 and "Traceback" not in words, words
    checkpoint = newest_checkpoint(tmp_path / "paper" / "checkpoints")
    assert checkpoint is not None and checkpoint.step >= numbers(tmp_path / "paper")[-1]["step"]


def test_processes_that_were_started_differently_are_refused_before_the_first_step(
    shards: Path, tmp_path: Path
) -> None:
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    command = [sys.executable, "-m", "alexkit.cli.alextrain", "--shards", str(shards), "--runs", str(tmp_path / "runs")]
    processes = [
        subprocess.Popen(
            [*command, *SMALL, "--set", f"training.rate={rate}"],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, rate in enumerate(("0.01", "0.02"))
    ]
    for process in processes:
        _, words = process.communicate()
        assert process.returncode == 1
        assert "differ in --set training.rate: 0.01 in process 0, 0.02 in process 1" in words
        assert "Traceback" not in words and "gloo" not in words
    assert not (tmp_path / "runs").exists()
