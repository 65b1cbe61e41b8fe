import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alexkit.model.runs.log import RunLog, read_log


def write_steps(folder: Path, steps: range) -> None:
    with RunLog(folder, steps.start - 1) as log:
        for step in steps:
            log.write("train", step, loss=1 / step, top1_error=0.5, rate=0.1)


@contextmanager
def files_no_larger_than(num_bytes: int) -> Iterator[None]:
    """The system refuses to write more into any file, as it does where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_behind_the_step_are_dropped_and_those_before_it_stay(tmp_path: Path) -> None:
    write_steps(tmp_path, range(1, 8))
    with RunLog(tmp_path, 4):
        pass
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2, 3, 4]
    write_steps(tmp_path, range(5, 7))
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path: Path) -> None:
    write_steps(tmp_path, range(1, 4))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    write_steps(tmp_path, range(4, 5))
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "damage",
    [b"\xff", b"[1]", b'{"kind": "train", "stgp": 3, "loss": 1, "top1_error": 1, "rate": 1}', b"7",
     b'{"kind": "train", "step": 3, "loss": null, "top1_error": 1, "rate": 1}'],
)  # fmt: skip
def test_a_damaged_line_is_moved_aside_and_said(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    write_steps(tmp_path, range(1, 4))
    path = tmp_path / "log.jsonl"
    first, _, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, damage, third, b""]))
    write_steps(tmp_path, range(4, 5))
    assert [line["step"] for line in read_log(path)] == [1, 3, 4]
    assert (tmp_path / "log.damaged").read_bytes() == damage + b"\n"
    assert "1 damaged lines, moved to log.damaged" in caplog.text


def test_a_lost_log_is_said_and_begun_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_steps(tmp_path, range(8, 9))
    assert "log.jsonl: missing; starting a new log after step 7" in caplog.text
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [8]


def test_a_start_on_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    write_steps(tmp_path, range(1, 30))
    before = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(OSError, match="File too large"), files_no_larger_than(len(before) // 2):
        RunLog(tmp_path, 29)
    assert (tmp_path / "log.jsonl").read_bytes() == before
