"""A disk that is full at any write ends a run with a line that names the place; with room the same command ends it."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexkit.model.evaluation import forward

pytestmark = pytest.mark.faults

COMMAND = [str(Path(sys.executable).with_name("alexprep")), "shard"]
OPTIONS = ["--size", "32", "--images-per-shard", "4", "--workers", "1"]
SIZES_KB = (4, 12, 24, 40, 56, 80, 112, 160, 224, 288)


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_is_one_line_and_the_same_command_continues(
    small_disk: Path,
    tmp_path: Path,
    draw_source: Callable[..., Path],
    tree_hashes: Callable[[Path], dict[str, str]],
) -> None:
    source = draw_source(splits=("train",))
    whole = subprocess.run([*COMMAND, str(source), "--out", str(tmp_path / "whole"), *OPTIONS], capture_output=True)
    assert whole.returncode == 0
    expected = tree_hashes(tmp_path / "whole")
    out = small_disk / "out"
    places = set()
    for size_kb in SIZES_KB:
        subprocess.run(["mount", "-o", f"remount,size={size_kb}k", str(small_disk)], check=True)
        run = subprocess.run([*COMMAND, str(source), "--out", str(out), *OPTIONS], capture_output=True, text=True)
        if run.returncode == 0:
            break
        last = run.stderr.splitlines()[-1]
        assert last.startswith("Error: ") and str(small_disk) in last and "make room" in last, run.stderr
        assert "Traceback" not in run.stderr
        places.add(Path(last.split(":")[1].strip()).suffix)
        final = {name: digest for name, digest in tree_hashes(out).items() if name in expected}
        assert final.items() <= expected.items()
    assert run.returncode == 0, "never enough room"
    assert tree_hashes(out) == expected
    assert len(places) >= 2, "the disk was full at too few kinds of writes to say anything"


@pytest.mark.slow
def test_features_for_which_there_is_no_room_are_one_line_and_no_crash(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "IN_MEMORY_BYTES", 2**10)
    array = forward.large_array((100, 1000), np.float16)
    assert not array.any() and array.flags.writeable
    array[:] = 1
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with pytest.raises(OSError, match="No space left on device") as refused:
        forward.large_array((100, 1000), np.float16)
    assert refused.value.filename == str(small_disk)
