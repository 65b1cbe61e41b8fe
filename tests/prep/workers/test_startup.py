"""A small set pays for start-up: workers load their libraries first of all, and nothing is loaded that is not used."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ..conftest import DrawSource


def loaded_after(code: str, *arguments: str, folder: Path) -> set[str]:
    """The modules that a fresh process has loaded after `code`."""
    program = f"import sys\n{code}\nprint('loaded', *sys.modules)"
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_workers_can_be_started_before_any_library_is_loaded(tmp_path: Path) -> None:
    code = "from alexkit.cli.alexprep import alexprep\nfrom alexkit.prep import storage, workers"
    loaded = loaded_after(code, folder=tmp_path)
    assert "alexkit.prep.workers.pool" in loaded
    assert not loaded & {"numpy", "PIL", "cv2", "pydantic", "numba", "ssl", "http.client"}


def test_a_new_set_is_made_without_loading_what_reads_sets(draw_source: DrawSource, tmp_path: Path) -> None:
    code = "from alexkit.cli.alexprep import alexprep\nalexprep(sys.argv[1:], standalone_mode=False)"
    arguments = ("shard", str(draw_source()), "--out", "out", "--size", "32", "--workers", "2", "-q")
    loaded = loaded_after(code, *arguments, folder=tmp_path)
    assert (tmp_path / "out/val/manifest.json").exists() and "numpy" in loaded
    assert not loaded & {"pydantic", "numba", "torch", "rich", "pyarrow", "obstore", "urllib.request"}


CHECK_AND_ADD_UP = """
import multiprocessing
from pathlib import Path
from alexkit.prep import ShardSet
from alexkit.prep.build.integrity.verify_shard import VerifyJob, verify_one_shard
from alexkit.prep.reports.pca import SumJob, sum_one_shard
from alexkit.prep.workers.heartbeat import Heartbeat, new_state
found, heartbeat = ShardSet.open(Path(sys.argv[1])), Heartbeat(new_state(multiprocessing))
job = {"folder": found.folder, "entry": found.manifest.shards[0], "first_sample": 0, "pixels": found.manifest.pixels}
to_verify = VerifyJob(**job, num_classes=4, labels_are_indices=True, decode=False)
assert verify_one_shard(to_verify, heartbeat, {}) == []
assert sum_one_shard(SumJob(**job), heartbeat, {}).num_images == job["entry"].num_samples
"""


def test_sound_shards_are_checked_and_added_up_without_a_compiler(
    draw_shards: Callable[..., Path], tmp_path: Path
) -> None:
    assert "numba" not in loaded_after(CHECK_AND_ADD_UP, str(draw_shards()), folder=tmp_path)
