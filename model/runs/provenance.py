"""When and how a run was started and resumed: one line each time in `starts.jsonl`, a record never needed to resume."""

import json
import logging
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ... import __version__
from ...prep.format.files import naming
from ...prep.reports.doctor import dali_wheels, installed_packages

STARTS = "starts.jsonl"
LIBRARIES = ("numpy", "numba")

logger = logging.getLogger(__name__)


def software_versions() -> dict[str, str]:
    """Versions of alexkit and of the libraries that affect a run's numbers; libraries not installed are left out.

    The version of torch includes its build, as in 2.13.0+cu130, which the metadata of its PyPI package omits.
    """
    import torch

    versions = {"python": platform.python_version(), "alexkit": __version__, "torch": torch.__version__}
    for name in (*LIBRARIES, *dali_wheels(installed_packages())):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def record_start(folder: Path, *, step: int, device: str, precision: str, processes: int) -> None:
    """Append one line to `folder/starts.jsonl`: time, command, versions and hardware.

    Logs a warning if the run is resumed in another precision than that of its last start.

    Args:
        folder: the run folder.
        step: finished steps.
        device: device of the first process, "cpu" or "cuda:N".
        precision: precision of the multiplications, for example "float32".
        processes: number of processes that train together.
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
    before = _last_precision(folder / STARTS)
    if step and before not in (None, precision):
        logger.warning(
            "%s: trained in %s so far and in %s from step %d on, as training.precision = 'auto' depends on the device; "
            "to keep the precision, stop and resume on a device like the first",
            folder,
            before,
            precision,
            step,
        )
    with naming(folder / STARTS), (folder / STARTS).open("a") as file:
        file.write(json.dumps(line) + "\n")


def _last_precision(path: Path) -> str | None:
    """The precision of the last start; None if there is none or its line is damaged."""
    try:
        return str(json.loads(path.read_bytes().splitlines()[-1])["precision"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def device_name(device: str) -> str:
    """The device's name, for example "Intel(R) Xeon(R) ..."; empty if unknown."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def git_commit(folder: Path) -> str | None:
    """The commit checked out in the repository that contains `folder`, with `-dirty` appended if tracked files differ.

    None if there is no repository, git is not installed, or it does not answer within 5 seconds. Nothing is written to
    the repository (`git describe --dirty` would lock and rewrite the index).
    """
    command: list[Any] = ["git", "--no-optional-locks", "-C", folder, "status", "--porcelain=v2", "--branch"]
    try:
        done = subprocess.run([*command, "--untracked-files=no"], capture_output=True, errors="replace", timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if done.returncode or commit == "(initial)":
        return None
    return commit + "-dirty" * any(not line.startswith("#") for line in lines)
