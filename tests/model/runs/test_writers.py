"""Laws of writers: they are told all of a run in order, and what one of them raises does not end the run."""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexkit.errors import InputError
from alexkit.model.runs.log import RunLog, read_log
from alexkit.model.runs.writers import TrackedRun, Writers, flat

CONFIG = {"name": "quick", "training": {"rate": 0.01, "log": ["tensorboard"]}}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(tmp_path / "curves.png")
    return tmp_path / "curves.png"


def tell(log: RunLog, picture: Path) -> None:
    log.write("train", 20, loss=2.5, top1_error=0.9, rate=0.01)
    log.write("val", 40, loss=2.0, top1_error=0.8)
    log.image("curves", 40, picture)


def test_tensorboard_has_the_numbers_the_recipe_and_the_pictures(tmp_path: Path, picture: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunLog(tmp_path, 0, writers=["tensorboard"], config=CONFIG) as log:
        tell(log, picture)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert [(event.step, round(event.value, 3)) for event in events.Scalars("val/loss")] == [(40, 2.0)]
    assert hyperparameters(events) == {"name": "quick", "training.rate": 0.01, "training.log": "['tensorboard']"}
    assert "train/rate" in tags["scalars"] and tags["images"] == ["curves"] and "recipe/text_summary" in tags["tensors"]


def hyperparameters(events: Any) -> dict[str, Any]:
    """What TensorBoard's page of hyperparameters reads, from the same event file as the curves."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    data = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = HParamsPluginData.FromString(data).session_start_info.hparams
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in values.items()}


@pytest.mark.parametrize("module", ["wandb", "trackio"])
def test_a_tracker_has_the_run_on_this_disk(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when trackio is imported
    with RunLog(tmp_path, 0, writers=[module], config=CONFIG) as log:
        tell(log, picture)
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [20, 40]
    files = list((tmp_path / module).rglob("*"))
    assert any(path.suffix in (".wandb", ".db") for path in files)
    assert any(path.suffix == ".png" for path in files)


def test_no_writers_leave_nothing_but_the_log(tmp_path: Path, picture: Path) -> None:
    with RunLog(tmp_path, 0, writers=[], config=CONFIG) as log:
        tell(log, picture)
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", "curves.png"}


class Failing:
    """A tracker whose service goes away after the first numbers."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self, config: Mapping[str, Any]) -> None:
        self.calls.append("start")

    def scalars(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        self.calls.append(f"scalars {step}")
        if step > 20:
            raise ConnectionError("the service is gone")

    def image(self, name: str, step: int, path: Path) -> None:
        self.calls.append("image")

    def finish(self) -> None:
        self.calls.append("finish")


def test_a_tracker_that_fails_is_named_once_and_left_alone(
    tmp_path: Path, picture: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writers, failing = Writers([], tmp_path, 0), Failing()
    writers._writers["wandb"] = failing
    writers.start(CONFIG)
    with caplog.at_level(logging.WARNING):
        for step in (20, 40, 60):
            writers.scalars("train", step, {"loss": 1.0})
        writers.image("curves", 60, picture)
        writers.finish()
    assert failing.calls == ["start", "scalars 20", "scalars 40"]
    assert [record.message for record in caplog.records] == [
        "wandb is disabled for the rest of this run: the service is gone"
    ]


class NotLoggedIn(Failing):
    """A tracker that nobody has logged in to."""

    def start(self, config: Mapping[str, Any]) -> None:
        raise PermissionError("no API key")


def test_a_tracker_that_does_not_start_is_refused_before_the_run(tmp_path: Path) -> None:
    writers = Writers([], tmp_path, 0)
    writers._writers["wandb"] = NotLoggedIn()
    with pytest.raises(InputError, match=r"training\.log: wandb does not start \(no API key\)"):
        writers.start(CONFIG)


def test_a_tracker_that_is_not_installed_is_named_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trackio", None)
    with pytest.raises(ImportError, match=r"pip install 'alexkit\[trackio\]'"):
        TrackedRun("trackio", tmp_path)


def test_tables_become_keys_with_dots() -> None:
    assert flat(CONFIG) == {"name": "quick", "training.rate": 0.01, "training.log": ["tensorboard"]}
