import os
from pathlib import Path

import pytest

from alexkit.cores import num_cores, own_cores


def test_cores_are_those_of_the_affinity_mask_or_all_where_the_system_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert num_cores(tmp_path) == len(os.sched_getaffinity(0)) >= num_cores()
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert num_cores(tmp_path) == os.cpu_count()


@pytest.mark.parametrize(("processes", "cores"), [(None, 8), ("1", 8), ("3", 2), ("16", 1)])
def test_processes_that_torchrun_started_on_one_machine_share_its_cores(
    processes: str | None, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexkit.cores.num_cores", lambda: 8)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert own_cores() == cores


V2 = "0::/jobs/seven\n"
V1 = "5:memory:/jobs/seven\n4:cpu,cpuacct:/jobs/seven\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        (V2, {"jobs/seven/cpu.max": "250000 100000"}, 3),
        (V2, {"jobs/seven/cpu.max": "20000 100000"}, 1),
        (V2, {"jobs/seven/cpu.max": "max 100000"}, 8),
        (V2, {"jobs/seven/cpu.max": "3200000 100000"}, 8),
        (V2, {"jobs/seven/cpu.max": "400000 100000", "jobs/cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/docker/named/from/outside\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/../../beside\n", {"cpu.max": "200000 100000"}, 2),
        (V1, {"cpu,cpuacct/jobs/seven/cpu.cfs_quota_us": "150000"}, 8),
        (V1, {"cpu,cpuacct/jobs/cpu.cfs_quota_us": "150000", "cpu,cpuacct/jobs/cpu.cfs_period_us": "50000"}, 3),
        (V1, {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        (V1, {"memory/jobs/seven/cpu.max": "100000 100000"}, 8),
        (V2, {"jobs/seven/cpu.max": "much"}, 8),
        (V2, {"jobs/seven/cpu.max": "100000 0"}, 8),
        ("no group\n", {}, 8),
    ],
)
def test_a_quota_of_cpu_time_counts_rounded_up_where_it_is_less_than_the_affinity_mask(
    groups: str, files: dict[str, str], cores: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert num_cores(tmp_path) == cores
