"""A selection of tests passes wherever a person may run it: other locales, umasks, homes and temporary folders."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What reads and writes text, numbers, files and folders, and starts processes.
SELECTION = [
    "tests/prep/format/test_shard.py",
    "tests/prep/format/test_stats.py",
    "tests/prep/sources/lists/test_image_list.py",
    "tests/cli/test_terminal.py",
    "tests/pipeline/epochs/test_order.py",
    "tests/pipeline/test_golden.py",
    "tests/cli/test_alexprep.py::test_shard_writes_both_splits_and_a_second_run_finds_them",
    "tests/cli/test_alexprep.py::test_verify_names_the_damage_and_repair_mends_it",
    "tests/cli/test_alexprep.py::test_pca_prints_a_table_and_writes_beside_the_shards",
]


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
def test_the_c_locale_and_a_far_time_zone_change_nothing(tmp_path: Path) -> None:
    passes(tmp_path, {"LC_ALL": "C", "LANG": "C", "TZ": "Pacific/Kiritimati", "OMP_NUM_THREADS": "1"})


@pytest.mark.slow
def test_turkish_where_the_capital_of_i_is_not_i_changes_nothing(tmp_path: Path) -> None:
    known = subprocess.run(["locale", "-a"], capture_output=True, text=True).stdout
    if "tr_TR.utf8" not in known:
        pytest.skip("this system does not have the locale tr_TR.UTF-8")
    passes(tmp_path, {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "America/St_Johns"})


@pytest.mark.slow
def test_a_home_without_access_and_a_temporary_folder_with_spaces_change_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("not a folder, so that nobody, not even root, can write in it")
    variables = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(home))
    # Short: Linux allows a socket's path 107 bytes, and worker processes have theirs in the temporary folder.
    with tempfile.TemporaryDirectory(prefix="ä b ", dir="/tmp") as temporary:
        passes(tmp_path, {**variables, "TMPDIR": temporary})


@pytest.mark.slow
def test_a_strict_umask_changes_nothing(tmp_path: Path) -> None:
    passes(tmp_path, {}, ("sh", "-c", 'umask 077; exec "$@"', "sh"))


@pytest.mark.slow
def test_a_full_dev_shm_changes_nothing(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=4k none /dev/shm && head -c 4096 /dev/zero >/dev/shm/full && exec "$@"'
    hidden = ("unshare", "--mount", "sh", "-c", script, "sh")
    if shutil.which("unshare") is None or subprocess.run([*hidden, "true"], capture_output=True).returncode != 0:
        pytest.skip("this system does not let a process mount over /dev/shm")
    passes(tmp_path, {}, hidden)
