import os

import pytest

from alexkit.cores import num_cores


def test_cores_are_those_of_the_affinity_mask_or_all_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert num_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert num_cores() == os.cpu_count()
