import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from alexkit.cli.alexeval import alexeval
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.trainer import Trainer
from alexkit.pipeline import CenterCrop, Loader


@pytest.fixture(scope="module")
def shards(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    (folder / "train").symlink_to(draw_shards(num_samples=100, size_px=32, num_classes=6))
    (folder / "val").symlink_to(draw_shards(num_samples=39, size_px=32, num_classes=6, split="val"))
    return folder


@pytest.fixture(scope="module")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of the 13 % net, whose crops of 24 px leave room for ten views."""
    torch.set_num_threads(1)  # threads that wait for each other in turns cost more than they help on such small nets
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("one", "two")]
    for seed, folder in enumerate(folders):
        overrides = ["network.kind=cifar10-13", "data.crop=24", "training.epochs=2", "training.batch_size=16"]
        recipe = load_recipe("cifar10-19", [*overrides, "schedule.kind=linear", f"training.seed={seed}"])
        trainer = Trainer(recipe, shards, folder, device="cpu")
        trainer.run()
        trainer.close()
    return folders


def call(*words: object) -> Result:
    return CliRunner().invoke(alexeval, [str(word) for word in words])


def test_runs_are_scored_alone_and_together_by_one_view_and_ten(shards: Path, runs: list[Path], tmp_path: Path) -> None:
    result = call("--shards", shards, *runs, "--json", tmp_path / "t.json", "--picture", tmp_path / "p.png")
    assert result.exit_code == 0, result.output
    assert "39 images" in result.stdout and "ten views" in result.stdout and "all together" in result.stdout
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [*map(str, runs), "all together"]
    for row, run in zip(rows, runs, strict=False):
        trained = json.loads((run / "result.json").read_text())
        assert row["images"] == 39
        # Batches of another size round differently, the errors are counts of images.
        assert row["center"]["top1_error"] == trained["top1_error"]
        assert row["center"]["loss"] == pytest.approx(trained["loss"], rel=1e-5)
        assert row["ten_views"]["loss"] != row["center"]["loss"]
    # Mean probabilities have at most the mean of the losses (Jensen).
    for view in ("center", "ten_views"):
        assert rows[2][view]["loss"] <= (rows[0][view]["loss"] + rows[1][view]["loss"]) / 2 + 1e-9
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"


def test_a_run_together_with_itself_is_itself(shards: Path, runs: list[Path], tmp_path: Path) -> None:
    assert call("--shards", shards, runs[0], runs[0], "--json", tmp_path / "t.json").exit_code == 0
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert rows[2]["ten_views"]["loss"] == pytest.approx(rows[0]["ten_views"]["loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--shards", "nowhere", "{run}"], "--shards nowhere: no such folder"),
        (["--shards", ".", "{run}"], "no such folder; name a folder that 'alexprep shard' wrote"),
        (["--shards", "{shards}", "nothing"], "nothing: no config.json here; name a folder that 'alextrain' wrote"),
        (["--shards", "{shards}", "{run}", "--split", "test"], "test: no such folder"),
    ],
)
def test_wrong_uses_end_in_one_clear_line(
    words: list[str], expected: str, shards: Path, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*[word.format(shards=shards, run=runs[0]) for word in words])
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert expected in result.output and len(result.output.splitlines()) == 1


def test_a_run_from_another_dataset_is_refused_in_one_line(
    draw_shards: Callable[..., Path], runs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "train").symlink_to(draw_shards(num_samples=60, size_px=32, num_classes=3))
    (tmp_path / "val").symlink_to(draw_shards(num_samples=30, size_px=32, num_classes=3, split="val"))
    result = call("--shards", tmp_path, runs[0])
    assert result.exit_code == 1 and "this run is from another dataset" in result.output


def test_an_onnx_file_gives_the_predictions_of_the_run_from_pixels_as_stored(
    shards: Path, runs: list[Path], tmp_path: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    result = call("--shards", shards, runs[0], "--onnx", tmp_path / "net.onnx")
    assert result.exit_code == 0 and "net.onnx: takes pixels of 0-255" in result.output
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    with Loader(shards / "val", batch_size=39, augment=CenterCrop(crop=24, mean="none"), dtype=torch.uint8) as loader:
        (batch,) = loader
    (probabilities,) = session.run(["probabilities"], {"images": batch.images.float().numpy()})
    own = probabilities[range(39), batch.labels.numpy()]
    trained = json.loads((runs[0] / "result.json").read_text())
    assert (probabilities.argmax(1) != batch.labels.numpy()).mean() == pytest.approx(trained["top1_error"])
    assert -np.log(own).mean() == pytest.approx(trained["loss"], rel=1e-4)


def test_an_onnx_file_holds_one_network_and_no_table(shards: Path, runs: list[Path], tmp_path: Path) -> None:
    for words, expected in (([*runs], "--onnx writes one network, not 2"), ([runs[0], "--json", "x"], "leave out")):
        result = call("--shards", shards, *words, "--onnx", tmp_path / "net.onnx")
        assert result.exit_code == 1 and expected in result.output
        assert not list(tmp_path.iterdir())


def test_an_unknown_option_is_refused() -> None:
    assert call("--shard", "x").exit_code == 2


def test_a_file_that_cannot_be_written_is_refused_before_the_work(shards: Path, runs: list[Path]) -> None:
    result = CliRunner().invoke(alexeval, ["--shards", str(shards), str(runs[0]), "--json", "/no/such/folder/a.json"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: --json /no/such/folder/a.json: no such folder")
