"""Ray on three hosts: a worker, a host or the driver is killed, or a cable is cut, and every byte is a local run's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import can_make_hosts

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "ray_faults.py"


def test_every_fault_ends_in_the_bytes_of_a_local_run() -> None:
    """Two seeds of each kind; `benchmarks/ray_faults.py` runs more."""
    pytest.importorskip("ray")
    if not can_make_hosts():
        pytest.skip("needs network namespaces: root, or user namespaces")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(SCRIPT), "--seeds", "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (rows, done.stderr[-3000:])
    trials = {(row["kind"], row["seed"]): row["equal"] for row in rows[1:]}
    assert trials == {(kind, seed): True for kind in ("worker", "node", "driver", "cable") for seed in range(2)}
