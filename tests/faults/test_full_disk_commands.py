"""Every command that writes, on a disk with ever more room: one line that names the file, nothing half written."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from alexkit.cli.alexeval import alexeval
from alexkit.cli.alexprep import alexprep
from alexkit.cli.alextrain import alextrain

from ..model.evaluation.report.test_submission import write_devkit
from ..prep.conftest import draw_source_at

pytestmark = pytest.mark.faults

PROGRAMS = {"alexprep": alexprep, "alextrain": alextrain, "alexeval": alexeval}
ROOM_KB = [0, *(4 * 2**i for i in range(14))]
DISK_MB = 64
TRAINING = "--recipe cifar10-19 --set training.epochs=1 --set training.batch_size=4"
# Each with how many refusals it takes at least: the files that it writes.
LINES = {
    "alexprep shard source --out new --size 32": 4,
    "alexprep adopt tars new": 2,
    "alexprep pca shards": 3,
    "alexprep inspect shards --png": 2,
    "alexprep demo-images new --train 10 --val 10": 2,
    "alexeval filters runs/one": 1,
    "alexeval filters runs/one --out new.png": 1,
    "alexeval codes runs/one --shards shards --bits 16 --epochs 1 --queries 5": 2,
    "alexeval neighbors runs/one photo.jpg --shards shards --picture new.png": 2,
    "alexeval predict runs/one photo.jpg --picture new.png": 1,
    "alexeval runs/one --shards shards --predictions new.csv": 1,
    "alexeval runs/one --shards shards --predictions new.parquet": 1,
    "alexeval runs/one --shards shards --predictions new.txt --devkit kit.tar.gz": 1,
    "alexeval runs/one --shards shards --results new.csv": 1,
    "alexeval runs/one --shards shards --picture new.png": 1,
    "alexeval runs/one --shards shards --report new --neighbors --codes": 3,
    "alexeval export runs/one --onnx new.onnx": 1,
    "alexeval export runs/one --torch-export new.pt2": 1,
    "alexeval export runs/one --web new": 1,
    "alexeval curves runs/one": 1,
    "alexeval claims runs/one --store new --picture new.png": 2,
    f"alextrain --shards shards --runs new {TRAINING}": 4,
}


def invoke(line: str) -> Result:
    program, *words = shlex.split(line)
    return CliRunner().invoke(PROGRAMS[program], words)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read: a source, shards, tars from elsewhere, a run, a photograph, a devkit."""
    folder = tmp_path_factory.mktemp("files")
    draw_source_at(folder / "source")
    assert invoke(f"alexprep shard {folder}/source --out {folder}/shards --size 32").exit_code == 0
    trained = invoke(f"alextrain --shards {folder}/shards --runs {folder}/runs --name one {TRAINING}")
    assert trained.exit_code == 0, trained.output
    (folder / "tars").mkdir()
    for tar in (folder / "shards/train").glob("*.tar"):
        shutil.copy(tar, folder / "tars")
    write_devkit(folder / "kit.tar.gz", {f"n{number:08d}": number + 1 for number in range(3)})
    shutil.copy(next((folder / "source/val").rglob("*.JPEG")), folder / "photo.jpg")
    return folder


@pytest.fixture
def disk(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small file system with these files, where the process works."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={DISK_MB}m"
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]).returncode:
        pytest.skip("mounting a small file system needs root")
    shutil.copytree(files, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    yield folder
    monkeypatch.undo()
    subprocess.run(["umount", "-l", str(folder)], check=True)


def leave(room_kb: int, disk: Path) -> None:
    """Fill the disk up to so much room."""
    (disk / "filler").unlink(missing_ok=True)
    state = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - room_kb * 1024)


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_a_full_disk_is_one_line_that_names_the_file(disk: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexkit.model.training.trainer.require_room", lambda *_: None)  # full only after the start
    refused: set[str] = set()
    for room_kb in ROOM_KB:
        leave(room_kb, disk)
        done = invoke(line)
        assert not list(disk.rglob("*.partial"))
        if done.exit_code == 0:
            break
        assert isinstance(done.exception, SystemExit), done.exception
        last = done.output.splitlines()[-1]
        assert last.startswith("Error: ") and last.endswith(
            "No space left on device; make room, and the same command continues"
        ), done.output
        refused.add(last.split(": ")[1])
    assert done.exit_code == 0, "never enough room"
    assert len(refused) >= LINES[line], refused
