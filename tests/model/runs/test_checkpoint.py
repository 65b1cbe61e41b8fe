import json
import logging
import resource
from pathlib import Path

import pytest
import torch

from alexkit.model.runs.checkpoint import MOMENTUM, WEIGHTS, newest_checkpoint, read_checkpoint, save_checkpoint


def save(folder: Path, step: int, keep: int | None = None) -> None:
    weights = {"conv1.weight": torch.full((2, 3, 2, 2), float(step)).to(memory_format=torch.channels_last)}
    momentum = {"conv1.weight": torch.full((2, 3, 2, 2), -float(step))}
    save_checkpoint(folder, step, weights, momentum, {"note": f"at {step}"}, keep=keep)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path, 7)
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 7 and found.state["note"] == "at 7"
    assert torch.equal(found.weights()["conv1.weight"], torch.full((2, 3, 2, 2), 7.0))
    assert torch.equal(found.momentum()["conv1.weight"], torch.full((2, 3, 2, 2), -7.0))


def test_the_last_two_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(10, 70, 10):
        save(tmp_path, step, keep=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000020", "step-00000050", "step-00000060"]


def test_a_checkpoint_written_before_damaged_ones_stays_and_they_go(tmp_path: Path) -> None:
    for step in (50, 60, 70):
        save(tmp_path, step, keep=50)
    for step in (60, 70):
        (tmp_path / f"step-{step:08d}" / WEIGHTS).write_bytes(b"damaged")
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 50
    save(tmp_path, 55, keep=50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000050", "step-00000055"]
    save(tmp_path, 100_000_000, keep=50)  # whose name has a digit more
    save(tmp_path, 99_999_999, keep=50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000050", "step-00000055", "step-99999999"]


@pytest.mark.parametrize("name", [WEIGHTS, MOMENTUM, "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / "step-00000002" / name
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content if damage == "flip" else content[:-5])
    with caplog.at_level(logging.WARNING):
        found = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 1
    assert name in caplog.text and "skipping this checkpoint" in caplog.text


def test_every_changed_bit_of_the_state_is_seen(tmp_path: Path) -> None:
    save(tmp_path, 2)
    path = tmp_path / "step-00000002" / "state.json"
    content = path.read_bytes()
    text = json.loads(content)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        try:
            assert json.loads(changed) == text  # a space that became another one
        except (AssertionError, ValueError):
            with pytest.raises(ValueError, match=r"damaged|version|SHA-256"):
                read_checkpoint(path.parent)


def test_a_checkpoint_of_another_version_is_refused_not_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 2)
    path = tmp_path / "step-00000002" / "state.json"
    path.write_text(path.read_text().replace('"version": 3', '"version": 1'))
    with pytest.raises(ValueError, match=r"state\.json: version 1, but this alexkit reads version 3"):
        newest_checkpoint(tmp_path)


def test_a_checkpoint_that_was_being_written_is_not_there(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-00000002.partial").mkdir()
    (tmp_path / "step-00000002.partial" / WEIGHTS).write_bytes(b"half")
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 1
    save(tmp_path, 2)
    assert not list(tmp_path.glob("*.partial"))


def test_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "none") is None


def test_a_file_with_pickles_is_never_opened(tmp_path: Path) -> None:
    save(tmp_path, 1)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "step-00000001" / WEIGHTS)
    with pytest.raises(ValueError, match=r"weights.safetensors: damaged; its SHA-256 is not the one"):
        read_checkpoint(tmp_path / "step-00000001")


def test_what_a_killed_run_left_is_cleared_away_by_the_next_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "step-00000003.partial").mkdir()
    (tmp_path / "step-00000003.partial" / WEIGHTS).write_bytes(b"half")
    save(tmp_path, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]


@pytest.mark.parametrize("step", ["Infinity", "null", "1e999", "[1]"])
def test_a_state_that_names_no_step_is_passed_over(tmp_path: Path, step: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / "step-00000002" / "state.json"
    path.write_text(path.read_text().replace('"step": 2', f'"step": {step}'))
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 1


def test_where_all_are_damaged_that_is_said(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-00000001" / WEIGHTS).write_bytes(b"")
    with pytest.raises(ValueError, match=r"all checkpoints are damaged \(step-00000001\); restore one, or"):
        newest_checkpoint(tmp_path)


def test_a_full_disk_is_said_with_the_file_and_leaves_no_half_of_a_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            save(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value.filename).endswith(WEIGHTS)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
