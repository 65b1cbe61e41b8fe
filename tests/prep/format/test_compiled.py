"""Laws of compiled loops: the code is kept for the next process where it can be, and is never a condition."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from numba import njit

from alexkit.prep.format.compiled import compiled

# Kernels that call kernels, as those that read an index do.
SCRIPT = """
import resource, sys
from pathlib import Path
from alexkit.prep.format.shard import read_index
if sys.argv[2:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
assert read_index(Path(sys.argv[1]), shard_bytes=4096).keys == ["a"]
"""


@pytest.fixture
def index(tmp_path: Path) -> Path:
    (tmp_path / "x.idx").write_text("v1.2 1\njpg 512 100 a.jpg cls 1536 1 a.cls\n")
    return tmp_path / "x.idx"


def read(index: Path, cache: Path, *file_limit: str) -> str:
    """What a new process says that reads the index, with its code in `cache`."""
    command = [sys.executable, "-c", SCRIPT, str(index), *file_limit]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "NUMBA_DEBUG_CACHE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_code_is_compiled_once_for_a_machine(index: Path, tmp_path: Path) -> None:
    assert "data saved to" in read(index, tmp_path / "cache")
    again = read(index, tmp_path / "cache")
    assert "data loaded from" in again and "saved" not in again


@pytest.mark.parametrize("limit", ["0", "1000"], ids=["nothing", "indexes but no code"])
def test_a_full_disk_costs_only_the_time_to_compile(index: Path, tmp_path: Path, limit: str) -> None:
    assert "data saved" not in read(index, tmp_path / "cache", limit)
    assert "data saved to" in read(index, tmp_path / "cache")  # what was left half done does no harm


def test_no_place_for_the_code_costs_only_the_time_to_compile() -> None:
    names: dict[str, Callable[[int], int]] = {}
    exec("def next_number(x):\n    return x + 1", names)  # code without a file has no folder to be kept in
    with pytest.raises(RuntimeError, match="no locator available"):
        njit(cache=True)(names["next_number"])
    assert compiled(names["next_number"])(1) == 2
