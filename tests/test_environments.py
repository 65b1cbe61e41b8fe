"""A selection of tests passes wherever a person may run it: other locales, umasks, homes and temporary folders."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What reads and writes text, numbers, files and folders, and starts processes.
SELECTION = [
    "tests/prep/format",
    "tests/prep/sources",
    "tests/prep/build/test_build.py",
    "tests/cli/test_alexprep.py",
    "tests/cli/test_terminal.py",
    "tests/pipeline/test_order.py",
    "tests/pipeline/test_golden.py",
]

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "C locale": {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "Turkish, where the capital of i is not I": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
    "a time zone 14 hours ahead": {"TZ": "Pacific/Kiritimati"},
    "a time zone of half hours behind UTC": {"TZ": "America/St_Johns"},
    "one thread": {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
}


def passes(tmp_path: Path, environment: dict[str, str], prefix: tuple[str, ...] = ()) -> None:
    """Run the selection in a process with these variables, behind the command `prefix`."""
    temporary = tmp_path / "temporary"
    temporary.mkdir(exist_ok=True)
    command = [*prefix, sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *SELECTION]
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(temporary), **environment}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_other_variables_change_nothing(tmp_path: Path, name: str) -> None:
    locale = ENVIRONMENTS[name].get("LC_ALL", "C")
    known = subprocess.run(["locale", "-a"], capture_output=True, text=True).stdout.replace("utf8", "UTF-8")
    if locale.lower() not in known.lower().split():
        pytest.skip(f"this system does not have the locale {locale}")
    passes(tmp_path, ENVIRONMENTS[name])


@pytest.mark.slow
def test_a_home_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("not a folder, so that nobody, not even root, can write in it")
    passes(tmp_path, {"HOME": str(home), "XDG_CACHE_HOME": str(home), "XDG_CONFIG_HOME": str(home)})


@pytest.mark.slow
def test_a_temporary_folder_with_spaces_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a folder with spaces and ümläuts"
    folder.mkdir()
    passes(tmp_path, {"TMPDIR": str(folder)})


@pytest.mark.slow
def test_a_strict_umask_changes_nothing(tmp_path: Path) -> None:
    passes(tmp_path, {}, ("sh", "-c", 'umask 077; exec "$@"', "sh"))


@pytest.mark.slow
def test_without_dev_shm_nothing_changes(tmp_path: Path) -> None:
    hidden = ("unshare", "--mount", "--map-root-user", "sh", "-c", 'umount -l /dev/shm && exec "$@"', "sh")
    if shutil.which("unshare") is None or subprocess.run([*hidden, "true"], capture_output=True).returncode != 0:
        pytest.skip("this system does not let a process hide /dev/shm")
    passes(tmp_path, {}, hidden)
