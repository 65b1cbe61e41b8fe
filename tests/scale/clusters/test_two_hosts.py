"""Two hosts train as one does; with a cable out both end with our words, and the run continues."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import can_make_hosts, in_namespaces

from ...conftest import write_shard_set

pytestmark = pytest.mark.slow


def test_two_hosts_have_one_hosts_losses_and_end_and_continue_when_a_cable_is_cut(tmp_path: Path) -> None:
    if not can_make_hosts():
        pytest.skip("needs network namespaces: root, or user namespaces")
    for split, count in (("train", 160), ("val", 16)):
        write_shard_set(tmp_path / "shards" / split, num_samples=count, size_px=32, split=split)
    script = Path(__file__).with_name("two_hosts_script.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(script.parent), *filter(None, sys.path)])}
    command = in_namespaces([sys.executable, str(script), str(tmp_path)])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["one host"] == [0, ""] and found["two hosts"] == [0, 0], found
    one, two, cut = found["losses"]
    assert one and one == two
    assert all(code not in (0, None) for code in found["exit codes"]), found
    assert all("lost" in words for words in found["words"]), found["words"]
    assert found["run given again"] == [0, 0] and cut == one
    print(f"seconds until each host ended: {found['seconds until each host ended']}")
