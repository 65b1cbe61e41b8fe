"""How many processor cores this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def num_cores(root: Path = Path("/")) -> int:
    """The cores in this process's affinity mask if the system has one (Linux), else all cores (macOS).

    If a container's CPU quota, rounded up, is lower, it applies: threads beyond it would be throttled for the rest of
    each period. `root` is where /proc and /sys are looked up.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *(math.ceil(quota) for quota in _quotas(root))])


def own_cores() -> int:
    """This process's part of `num_cores` if torchrun or `launch` started several on this machine; at least 1."""
    return max(num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def _quotas(root: Path) -> Iterator[float]:
    """The quotas of this process's control groups, in cores; each group also limits the groups below it."""
    for folder in _group_folders(root):
        try:
            if (folder / "cpu.max").exists():  # version 2: "150000 100000", or "max 100000"
                quota, period = map(float, (folder / "cpu.max").read_text().replace("max", "inf").split())
            else:
                quota = float((folder / "cpu.cfs_quota_us").read_text())  # version 1; -1 means none
                period = float((folder / "cpu.cfs_period_us").read_text())
        except (OSError, ValueError):  # no such group, or not in the kernel's format: no limit is known
            continue
        if 0 < quota < math.inf and period > 0:
            yield quota / period


def _group_folders(root: Path) -> Iterator[Path]:
    """Folders that may hold the CPU controller's files for this process, from its own group up to the root group.

    Inside a container, the kernel may name groups as the host sees them; the container's group is then the root group
    here.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:  # "0::/job" in version 2, "4:cpu,cpuacct:/job" in version 1
        controllers, _, group = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = PurePosixPath(group.lstrip("/"))
        for mount in (controllers, "cpu") if controllers else ("", "unified"):
            for folder in (names, *names.parents):
                yield root / "sys/fs/cgroup" / mount / folder
