"""Pages of mapped shards are released, a truncated shard is named, and a process with a loader ends when it should."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alexkit.pipeline import Loader, TrainAugment
from alexkit.pipeline.storage import samples


def mapped_kB(folder: Path) -> int:
    """How much of a set's shards counts as this process's memory."""
    text = Path("/proc/self/smaps").read_text()
    return sum(
        int(kB)
        for name, kB in re.findall(r"^\S+-\S+ .*? (/\S+)$.*?^Rss: +(\d+) kB", text, re.M | re.S)
        if str(folder) in name
    )


@pytest.mark.parametrize("order", ["full", "window"])
def test_pages_that_were_read_are_released(draw_shards: Any, monkeypatch: pytest.MonkeyPatch, order: Any) -> None:
    folder, augment = draw_shards(format="raw", size_px=128, num_samples=256), TrainAugment(crop=56)
    with Loader(folder, batch_size=8, augment=augment, order=order) as loader:
        images = [batch.images.sum() for batch in loader]
    with Loader(folder, batch_size=8, augment=augment, order=order) as loader:
        kept = max(mapped_kB(folder) for _ in loader)
    monkeypatch.setattr(samples, "_RELEASE_BYTES", 128 * 128 * 3 * 8)
    with Loader(folder, batch_size=8, augment=augment, order=order) as loader:
        again = []
        for batch in loader:
            again.append(batch.images.sum())
        released = mapped_kB(folder)
    assert kept > 256 * 48  # the whole set
    assert released < kept / 2
    assert again == images


@pytest.mark.parametrize("format", ["jpeg", "raw"])
def test_a_shard_truncated_in_use_is_named_before_the_process_ends(
    draw_shards: Any, tmp_path: Path, format: str
) -> None:
    folder = Path(shutil.copytree(draw_shards(format=format), tmp_path / "set"))
    script = (
        "import os, sys\n"
        "from alexkit.pipeline import Loader, TrainAugment\n"
        "with Loader(sys.argv[1], batch_size=8, augment=TrainAugment(crop=56)) as loader:\n"
        "    next(iter(loader))\n"
        "    os.truncate(sys.argv[1] + '/train-00001.tar', 512)\n"
        "    while True:\n"
        "        for batch in loader:\n"
        "            pass\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=100)
    assert run.returncode == -signal.SIGBUS
    assert run.stderr.splitlines()[-1].startswith(f"{folder}/train-00001.tar: has 512 bytes instead of ")


def test_bus_errors_outside_shards_still_reach_another_handler(draw_shards: Any) -> None:
    script = (
        "import ctypes, faulthandler, signal, sys\n"
        "faulthandler.enable()\n"
        "from alexkit.pipeline import Loader, TrainAugment\n"
        "with Loader(sys.argv[1], batch_size=8, augment=TrainAugment(crop=56)) as loader:\n"
        "    next(iter(loader))\n"
        "    signal.raise_signal(signal.SIGBUS)\n"
        "    signal.raise_signal(signal.SIGBUS)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(draw_shards())], capture_output=True, text=True, timeout=100
    )
    assert run.returncode == -signal.SIGBUS
    assert run.stderr.startswith("Fatal Python error: Bus error")


def run_script(script: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_an_unclosed_loader_does_not_hold_up_the_interpreter(draw_shards: Any) -> None:
    script = (
        "import sys\n"
        "from alexkit.pipeline import Loader, TrainAugment\n"
        "loader = Loader(sys.argv[1], batch_size=8, augment=TrainAugment(crop=56))\n"
        "batch = next(iter(loader))\n"
    )
    process = run_script(script, draw_shards())
    _, err = process.communicate(timeout=120)  # it would wait for ever
    assert process.returncode == 0, err


def test_an_interrupt_ends_iteration(draw_shards: Any) -> None:
    script = (
        "import sys\n"
        "from alexkit.pipeline import Loader, TrainAugment\n"
        "with Loader(sys.argv[1], batch_size=8, augment=TrainAugment(crop=56)) as loader:\n"
        "    while True:\n"
        "        for batch in loader:\n"
        "            print('batch', flush=True)\n"
    )
    process = run_script(script, draw_shards())
    assert process.stdout is not None and process.stdout.readline() == "batch\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in err
