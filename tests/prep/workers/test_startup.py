"""A small set pays for start-up: workers load their libraries first of all, and nothing is loaded that is not used."""

import subprocess
import sys
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
