"""Laws of compiled loops: the code is kept for the next process where it can be, and is never a condition."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from numba import njit

import alexkit
from alexkit.prep.format.compiled import compiled

PACKAGE = Path(alexkit.__file__).parent

# Kernels that call kernels, as those that read an index do.
SCRIPT = """
import resource, sys
from pathlib import Path
from numba.core.cpu import CPUContext
from alexkit.prep.format.shard import read_index
register = CPUContext.load_additional_registries
CPUContext.load_additional_registries = lambda self: (print("all that Numba compiles is registered"), register(self))
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
    first = read(index, tmp_path / "cache")
    assert "data saved to" in first and "registered" in first
    again = read(index, tmp_path / "cache")
    assert "data loaded from" in again and "saved" not in again
    assert "registered" not in again  # a third of a second


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


def test_the_compiler_is_imported_by_the_first_call_and_not_before() -> None:
    script = (
        "import sys; from alexkit.prep.format.index_text import parse_lines; assert 'numba' not in sys.modules; "
        "parse_lines(b'jpg 512 100 a.jpg cls 1536 1 a.cls\\n', 1); assert 'numba' in sys.modules; "
        # Nor SciPy's linear algebra with it, which Numba still asks for where a user's function needs it.
        "assert 'scipy.linalg' not in sys.modules; from numba.np import arraymath, linalg; "
        "assert arraymath.ensure_blas is linalg.ensure_blas; linalg.ensure_blas(); assert 'scipy.linalg' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_who_waits_for_the_compiler_is_told_once(index: Path, tmp_path: Path) -> None:
    script = "import logging; logging.basicConfig(level=logging.INFO)\n" + SCRIPT
    command = [sys.executable, "-c", script, str(index)]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    told = []
    for _ in range(2):
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        told.append([line for line in done.stderr.splitlines() if "compiling" in line])
    assert len(told[0]) == 1 and str(tmp_path / "cache") in told[0][0]
    assert told[1] == []


def test_two_starts_at_once_leave_one_whole_cache(index: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(index)]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_DEBUG_CACHE": "1"}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        process.communicate()
        assert process.returncode == 0
    again = read(index, tmp_path / "cache")
    assert "data loaded from" in again and "saved" not in again


def test_an_installed_package_that_cannot_be_written_keeps_its_code_in_the_users_cache(
    index: Path, tmp_path: Path
) -> None:
    """Also without any home: then the code is made again, and a line says what to set."""
    site = Path(shutil.copytree(PACKAGE, tmp_path / "site/alexkit", ignore=shutil.ignore_patterns("__pycache__")))
    run = (
        "import logging; logging.basicConfig(level=logging.INFO)\n"
        # A folder that stands for one without the right to write in it, which root would have.
        "import numba.core.caching as caching\n"
        "others = [x for x in caching.CacheImpl._locator_classes if 'InTree' not in x.__name__]\n"
        "caching.CacheImpl._locator_classes = others\n"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    environment |= {"PYTHONPATH": str(site.parent), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_DEBUG_CACHE": "1"}

    def told(home: Path) -> str:
        command = [sys.executable, "-c", run + SCRIPT, str(index)]
        return subprocess.run(
            command, env={**environment, "HOME": str(home)}, check=True, capture_output=True, text=True
        ).stderr

    first = told(tmp_path / "home")
    assert "compiling" in first and str(tmp_path / "home") in first
    assert "compiling" not in told(tmp_path / "home")
    assert list(site.rglob("*.nbi")) == []
    (tmp_path / "no-home").write_text("a file where a home should be")
    assert "set NUMBA_CACHE_DIR" in told(tmp_path / "no-home")
