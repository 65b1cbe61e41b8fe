"""Under what a run was started and resumed: `starts.jsonl`, one line each time. A record, never needed to resume."""

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ... import __version__
from ...prep.reports.doctor import dali_wheels

STARTS = "starts.jsonl"
LIBRARIES = ("numpy", "numba")


def software_versions() -> dict[str, str]:
    """alexkit and the libraries that shape a run's numbers; what is not installed is left out.

    torch's version names its build, as 2.13.0+cu130 does, which its package on PyPI leaves out.
    """
    import torch

    versions = {"python": platform.python_version(), "alexkit": __version__, "torch": torch.__version__}
    for name in (*LIBRARIES, *dali_wheels()):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def record_start(folder: Path, *, step: int, device: str, precision: str, processes: int) -> None:
    """Append one line to `folder/starts.jsonl`: when, by which command, with what, on what.

    Args:
        folder: the run folder.
        step: finished steps.
        device: what the first process computes on, "cpu" or "cuda:N".
        precision: of the multiplications, "float32" for example.
        processes: how many processes train together.
    """
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "command": sys.argv,
        "versions": software_versions(),
        "git": {"alexkit": git_commit(Path(__file__).parent), "working_folder": git_commit(Path.cwd())},
        "device": device,
        "device_name": device_name(device),
        "precision": precision,
        "processes": processes,
    }
    with (folder / STARTS).open("a") as file:
        file.write(json.dumps(line) + "\n")


def device_name(device: str) -> str:
    """What the device is called, "Intel(R) Xeon(R) ..." for example; empty where that cannot be told."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def git_commit(folder: Path) -> str | None:
    """The commit that is checked out in the repository `folder` lies in, `-dirty` where tracked files differ from it.

    None where there is no repository, no git, or no answer within seconds.
    """
    command: list[Any] = ["git", "-C", folder, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
