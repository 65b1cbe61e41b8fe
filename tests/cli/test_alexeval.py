import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file, save_file

from alexkit.cli.alexeval import alexeval
from alexkit.model import load_network
from alexkit.model.evaluation.claims.run_records import read_record
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.trainer import Trainer
from alexkit.pipeline import CenterCrop, Loader

from ..conftest import draw_image


@pytest.fixture(scope="module")
def shards(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    (folder / "train").symlink_to(draw_shards(num_samples=100, size_px=32, num_classes=6))
    (folder / "val").symlink_to(draw_shards(num_samples=39, size_px=32, num_classes=6, split="val"))
    return folder


@pytest.fixture(scope="module")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of the 13 % net, whose crops of 24 px leave room for several views."""
    torch.set_num_threads(1)  # threads that wait for each other in turns cost more than they help on such small nets
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("one", "two")]
    for seed, folder in enumerate(folders):
        overrides = [
            "network.kind=cifar10-13",
            "data.crop=24",
            "data.flip=true",
            "training.epochs=2",
            "training.batch_size=16",
        ]
        recipe = load_recipe("cifar10-19", [*overrides, "schedule.kind=linear", f"training.seed={seed}"])
        trainer = Trainer(recipe, shards, folder, device="cpu")
        trainer.run()
        trainer.close()
    return folders


def call(*words: object) -> Result:
    return CliRunner().invoke(alexeval, [str(word) for word in words])


def test_runs_are_scored_alone_and_together_by_one_view_and_ten(shards: Path, runs: list[Path], tmp_path: Path) -> None:
    result = call("--shards", shards, *runs)
    assert result.exit_code == 0, result.output
    assert "39 images" in result.stdout and "nine views" in result.stdout and "all together" in result.stdout
    # With --json stdout holds the numbers alone, whatever else is written.
    words = ["--views", "center", "--views", "ten", "--json", "--picture", tmp_path / "p.png"]
    result = call("--shards", shards, *runs, *words)
    assert result.exit_code == 0 and "p.png" in result.stderr
    metrics = json.loads(result.stdout)
    rows = metrics["rows"]
    assert [row["name"] for row in rows] == [*map(str, runs), "all together"]
    for row, run in zip(rows, runs, strict=False):
        trained = json.loads((run / "result.json").read_text())
        assert row["center"]["images"] == trained["images"] == 39
        assert all(trained[key] == metrics[key] for key in ("split", "statistics_sha256"))
        # Batches of another size round differently, the errors are counts of images.
        assert row["center"]["top1_error"] == trained["top1_error"]
        assert row["center"]["loss"] == pytest.approx(trained["loss"], rel=1e-5)
        assert row["ten"]["loss"] != row["center"]["loss"]
        low, high = row["center"]["top1_error_95"]
        assert low < row["center"]["top1_error"] < high
    # Mean probabilities have at most the mean of the losses (Jensen).
    for view in ("center", "ten"):
        assert rows[2][view]["loss"] <= (rows[0][view]["loss"] + rows[1][view]["loss"]) / 2 + 1e-9
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"


def members(scores: Path) -> list[dict[str, str]]:
    """The networks of the row of all together."""
    found: list[dict[str, str]] = json.loads(scores.read_text())["rows"][2]["members"]
    return found


def test_a_record_of_a_run_holds_curve_views_color_and_time_and_is_read_back(
    shards: Path, runs: list[Path], tmp_path: Path
) -> None:
    run, stored, scores = runs[0], tmp_path / "results", tmp_path / "scores.json"
    scores.write_text(call("--shards", shards, *runs, "--views", "nine", "--json").stdout)
    picture = tmp_path / "figure.png"
    printed = call("claims", run, "--scores", scores, "--store", stored, "--picture", picture)
    assert printed.exit_code == 0 and picture.read_bytes().startswith(b"\x89PNG"), printed.output
    record = read_record(stored / "one.json")
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [one.train_error for one in record.epochs] == pytest.approx(  # one line an epoch
        [line["top1_error"] for line in log if line["kind"] == "train"], abs=1e-6
    )
    assert [one.val_error for one in record.epochs] == [line["top1_error"] for line in log if line["kind"] == "val"]
    nine = json.loads(scores.read_text())["rows"][0]["nine"]
    assert (record.scores["nine"].images, record.scores["nine"].top1_error) == (39, nine["top1_error"])
    rows, sha256 = json.loads(scores.read_text())["rows"], [one["sha256"] for one in members(scores)]
    assert record.scores["nine"].split == "val" and record.weights_sha256 == sha256[0]
    assert record.scores["center"].set_sha256 == record.scores["nine"].set_sha256 != ""
    (average,) = record.together
    assert average.members == tuple(sorted(sha256))
    assert average.scores["nine"].top1_error == rows[2]["nine"]["top1_error"]
    assert record.scores["center"].top1_error == json.loads((run / "result.json").read_text())["top1_error"]
    assert record.train_images == 100 and record.seconds > 0
    kernels = load_file(sorted((run / "checkpoints").iterdir())[-1] / "weights.safetensors")["conv1.weight"]
    gray = kernels.mean(1, keepdim=True).expand_as(kernels)
    color = 1 - float(gray.square().sum() / kernels.square().sum())
    assert record.color_shares == (pytest.approx(color, abs=1e-5),)
    assert f"color in one: {100 * color:.0f} %" in printed.stdout
    assert call("claims", stored / "one.json").stdout == printed.stdout  # the record says all that the run does
    rows = json.loads(call("claims", stored / "one.json", "--json").stdout)
    assert [row["ours"] for row in rows if row["id"] == "F3"] == [f"color in one: {100 * color:.0f} %"]
    evaluation = json.loads(scores.read_text())
    scores.write_text(json.dumps({**evaluation, "labels": "real.json"}))
    refused = call("claims", run, "--scores", scores)
    assert refused.exit_code == 1 and "labels of real.json" in refused.stderr
    for other in (runs[1], stored / "one.json"):  # another network, and a record, to which nothing is added
        scores.write_text(json.dumps({**evaluation, "rows": evaluation["rows"][:1]}))
        refused = call("claims", other, "--scores", scores)
        assert refused.exit_code == 1 and "scores.json: has no errors of the newest checkpoint" in refused.stderr
    (stored / "one.json").write_text('{"name": 1}')
    refused = call("claims", stored / "one.json")
    assert refused.exit_code == 1 and "one.json: name must be text, got 1" in refused.stderr


def test_errors_on_the_training_images_are_recorded_apart_under_any_name_of_their_set(
    shards: Path, runs: list[Path], tmp_path: Path
) -> None:
    evaluation = json.loads(call("--shards", shards / "train", *runs, "--json").stdout)
    printed = call("claims", runs[0]).stdout
    for split in ("train", "val"):  # the training images as such, and a copy of them in a folder val
        scores = tmp_path / f"{split}.json"
        scores.write_text(json.dumps({**evaluation, "split": split}))
        assert call("claims", runs[0], "--scores", scores, "--store", tmp_path).stdout == printed
        record = read_record(tmp_path / "one.json")
        assert record.train_scores["center"].top1_error == evaluation["rows"][0]["center"]["top1_error"]
        assert record.scores == read_record(runs[0]).scores and record.together == ()


def test_a_run_together_with_itself_is_itself(shards: Path, runs: list[Path]) -> None:
    rows = json.loads(call("--shards", shards, runs[0], runs[0], "--json").stdout)["rows"]
    assert rows[2]["nine"]["loss"] == pytest.approx(rows[0]["nine"]["loss"], rel=1e-6)


def test_a_report_is_a_page_and_its_tables(shards: Path, runs: list[Path], tmp_path: Path) -> None:
    words = ["--report", tmp_path / "r", "--neighbors", "--codes", "--examples", "sample-0003"]
    result = call("--shards", shards, runs[0], "--predictions", tmp_path / "p.txt", *words)
    assert result.exit_code == 0, result.output
    parquet = pytest.importorskip("pyarrow.parquet")
    tables = ("predictions.csv", "predictions.parquet", "per_class.csv", "confusions.csv")
    names = {"index.html", "metrics.json", *tables}
    assert {path.name for path in (tmp_path / "r").iterdir()} == names
    page = (tmp_path / "r" / "index.html").read_text()
    assert "Nearest training images" in page and "sample-0003" in page
    assert json.loads((tmp_path / "r" / "metrics.json").read_text())["statistics_sha256"][:12] in page
    assert "39 images of this set among 100 training images" in page and "auto-encoder, 256 bits" in page
    # Nothing is fetched: pictures are inside, and links lead to the tables beside the page.
    targets = re.findall(r"(?:src|href)=\"([^\"]*)", page)
    assert all(target.startswith(("data:image/", "#")) or target in names for target in targets if target)
    with (tmp_path / "r" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 39 and rows[3]["key"] == "sample-0003" and rows[3]["label"] == "class3"
    columns = parquet.read_table(tmp_path / "r" / "predictions.parquet").to_pydict()
    assert columns["key"] == [row["key"] for row in rows] and columns["class_1"] == [row["class_1"] for row in rows]
    assert columns["probability_1"] == pytest.approx([float(row["probability_1"]) for row in rows], rel=1e-6)
    submitted = (tmp_path / "p.txt").read_text().splitlines()
    assert [f"class{int(line.split()[0]) - 1}" for line in submitted] == [row["class_1"] for row in rows]
    kept = [path.stem.rpartition("-")[2] for path in (runs[0] / "features").iterdir()]
    assert kept and set(kept) <= {"float32", "bfloat16"}  # by the precision that they were computed in


def test_a_validation_set_is_evaluated_without_its_training_set(shards: Path, runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "val").symlink_to((shards / "val").resolve())
    both = [
        call("--shards", folder, runs[0], "--views", "center").stdout.splitlines()[-1] for folder in (shards, tmp_path)
    ]
    assert both[0] == both[1]


def test_checkpoints_are_chosen_by_name_and_step(shards: Path, runs: list[Path]) -> None:
    steps = sorted(int(path.name.removeprefix("step-")) for path in (runs[0] / "checkpoints").iterdir())
    for choice, step in (("last", steps[-1]), (steps[0], steps[0])):
        result = call("--shards", shards, runs[0], "--checkpoint", choice, "--views", "center", "--json")
        assert json.loads(result.stdout)["rows"][0]["checkpoint"]["step"] == step
    missing = call("--shards", shards, runs[0], "--checkpoint", "99")
    assert "no checkpoint of step 99; choose --checkpoint last, best or one of" in missing.output


def test_other_labels_and_timms_columns(shards: Path, runs: list[Path], tmp_path: Path) -> None:
    lines = [f"sample-{i:04d},{'class0 class1 class2 class3 class4 class5' if i else ''}" for i in range(39)]
    (tmp_path / "l.csv").write_text("key,labels\n" + "\n".join(lines))
    words = ["--labels", tmp_path / "l.csv", "--results", tmp_path / "timm.csv", "--json"]
    for _ in range(2):
        result = call("--shards", shards, runs[0], *words)
    row = json.loads(result.stdout)["rows"][0]["center"]
    assert row["images"] == 38 and row["top1_error"] == 0 and "loss" not in row
    table = list(csv.DictReader((tmp_path / "timm.csv").open()))
    assert len(table) == 2 and table[0]["top1"] == "100.000" and table[0]["img_size"] == "24"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--shards", "nowhere", "{run}"], "--shards nowhere: no such folder"),
        (["--shards", "{shards}", "{run}", "--split", "tset"], "'tset' is not one of 'train', 'val', 'test'"),
        (["--shards", "{shards}", "{run}", "--picture", "."], "--picture .: is a folder; name a file in it"),
        (["predikt", "{run}"], "No such command 'predikt'. Did you mean 'predict'?"),
        (["codes", "--shards", "{shards}", "{run}", "--bits", "12"], "--bits 12: expected a multiple of 8"),
        (["curves", "nothing"], "nothing: no such folder; name a folder that 'alextrain' wrote"),
        (["--shards", ".", "{run}"], "no such folder; pass a folder that 'alexprep shard' wrote"),
        (["--shards", "{shards}", "nothing"], "nothing: no such file or folder; name a folder that 'alextrain' wrote"),
        (
            ["--shards", "{shards}", "{run}", "--split", "test"],
            "has no split test, only train, val; choose one with --split",
        ),
        (["--shards", "{shards}", "{run}", "--search-weights"], "name at least two RUNs"),
        (["--shards", "{shards}", "{run}", "--report", "r", "--codes"], "the exact search of --neighbors; add it"),
        (["--shards", "{shards}", "{run}", "--neighbors"], "need --report DIR"),
        (
            ["--shards", "{shards}", "{run}", "--predictions", "p.xls"],
            "name that ends in .csv, .parquet, .txt",
        ),
        (
            ["--shards", "{shards}", "{run}", "--picture", "/no/such/folder/a.png"],
            "/no/such/folder/a.png: no folder /no/such/folder; create it",
        ),
        (["--shards", "{shards}", "{run}", "--recipe", "quick"], "--recipe quick: is only for weights files"),
        (["--shards", "{shards}", "{run}", "--labels", "none.csv"], "--labels none.csv: no such file"),
    ],
)
def test_wrong_uses_end_in_one_clear_line(
    words: list[str], expected: str, shards: Path, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*[word.format(shards=shards, run=runs[0]) for word in words])
    assert result.exit_code in (1, 2) and "Traceback" not in result.output
    (line,) = (line for line in result.output.splitlines() if line.startswith("Error: "))
    assert expected in line


def test_a_run_from_another_dataset_is_refused_in_one_line(
    draw_shards: Callable[..., Path], runs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "val").symlink_to(draw_shards(num_samples=32, size_px=32, num_classes=8, split="val"))
    result = call("--shards", tmp_path, runs[0])
    assert result.exit_code == 1 and "this run was trained on another dataset" in result.output


def test_a_run_is_evaluated_beside_a_training_set_of_some_of_its_classes(
    draw_shards: Callable[..., Path], runs: list[Path], tmp_path: Path
) -> None:
    for split in ("train", "val"):
        (tmp_path / split).symlink_to(draw_shards(num_samples=20, size_px=32, num_classes=4, split=split))
    result = call("--shards", tmp_path, runs[0], "--views", "center")
    assert result.exit_code == 0 and "20 images" in result.output, result.output


def test_weights_that_are_not_finite_are_refused_by_name(shards: Path, runs: list[Path], tmp_path: Path) -> None:
    (newest,) = sorted((runs[0] / "checkpoints").iterdir())[-1:]
    weights = load_file(newest / "weights.safetensors")
    weights["conv2.bias"][3] = float("nan")
    save_file(weights, tmp_path / "bad.safetensors")
    result = call("--shards", shards, tmp_path / "bad.safetensors", "--recipe", runs[0] / "config.json")
    assert result.exit_code == 1 and "conv2.bias contains numbers that are not finite" in result.output
    result = call("--shards", shards, tmp_path / "bad.safetensors")
    assert result.exit_code == 1 and "name its recipe with --recipe" in result.output


def test_a_weights_file_is_scored_like_its_run(
    draw_shards: Callable[..., Path], shards: Path, runs: list[Path], tmp_path: Path
) -> None:
    newest = sorted((runs[0] / "checkpoints").iterdir())[-1] / "weights.safetensors"
    shutil.copy(newest, tmp_path / "w.safetensors")
    (tmp_path / "val").symlink_to(shards / "val")
    (tmp_path / "train").symlink_to(draw_shards(num_samples=12, size_px=32, num_classes=6))
    asked = [[shards, tmp_path / "w.safetensors", "--recipe", runs[0] / "config.json"]]
    asked += [[folder, newest] for folder in (shards, tmp_path, tmp_path / "val")]  # the run holds its own mean
    expected = json.loads(call("--shards", shards, runs[0], "--json").stdout)["rows"][0]["nine"]
    for words in asked:
        assert json.loads(call("--shards", *words, "--json").stdout)["rows"][0]["nine"] == expected


def test_predict_names_classes_of_loose_images_and_goes_on_after_a_bad_one(runs: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(draw_image(number, 1, 48)).save(folder / f"{number}.png")
    (folder / "bad.jpg").write_bytes(b"no image")
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (folder / "gone.png").symlink_to("nowhere")
    for name in ("._0.png", "notes.txt"):
        (folder / name).write_bytes(b"no image")
    no_urls = ["http://127.0.0.1/a b.jpg", "http://[bad", f"http://{'a' * 70}.org/x.jpg"]
    result = call("predict", "-q", runs[0], *no_urls, folder, "--json", "--top", 2, "--picture", tmp_path / "p.png")
    assert result.exit_code == 1 and "bad.jpg" in result.stderr
    assert all(f"{url}: " in result.stderr for url in no_urls)
    assert "IMG_1.HEIC: HEIC is not read; convert it" in result.stderr and "gone.png: No such file" in result.stderr
    assert "._0" not in result.stderr and "notes" not in result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["image"]).name for line in lines] == ["0.png", "1.png", "2.png"]
    network = load_network(runs[0])
    expected, first = network.predict([folder / "0.png"])[0], lines[0]["guesses"][0]
    entry = (network.classes or ())[int(expected.argmax())]
    assert (first["class"], first["id"]) == (entry.name, entry.id)
    assert first["probability"] == pytest.approx(float(expected.max()), abs=1e-5)
    nothing = call("predict", runs[0], tmp_path / "none.jpg")
    assert nothing.exit_code == 1 and "none.jpg: no such file or folder" in nothing.output


def test_the_nearest_neighbor_of_a_training_image_is_itself(shards: Path, runs: list[Path], tmp_path: Path) -> None:
    with Loader(shards / "train", batch_size=1, augment=CenterCrop(crop=32, mean="none"), dtype=torch.uint8) as loader:
        batch = next(iter(loader))
    Image.fromarray(batch.images[0].permute(1, 2, 0).numpy()).save(tmp_path / "first.png")
    words = ["--shards", shards, "--count", 3, "--json", "--picture", tmp_path / "n.png"]
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    result = call("neighbors", "-q", runs[0], tmp_path / "first.png", tmp_path / "bad.jpg", *words)
    assert result.exit_code == 1 and "bad.jpg: " in result.stderr, result.output
    found = json.loads(result.stdout)["neighbors"]
    assert found[0]["key"] == batch.keys[0] and len(found) == 3
    assert found[0]["distance"] < 0.5 * found[1]["distance"]
    (kept,) = (path for path in (runs[0] / "features").iterdir() if path.name.startswith("local4-"))
    whole = kept.read_bytes()
    for damaged in (whole[:-1000], b""):
        kept.write_bytes(damaged)
        again = call("neighbors", runs[0], tmp_path / "first.png", *words)
        assert again.exit_code == 0 and json.loads(again.stdout)["neighbors"] == found, again.output
        assert kept.read_bytes() == whole


def test_filters_are_drawn_and_their_color_is_counted(runs: list[Path], tmp_path: Path) -> None:
    result = call("filters", runs[0], "--out", tmp_path / "f.png")
    assert result.exit_code == 0 and "of the energy is color" in result.stdout
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


def test_codes_are_compared_with_the_exact_answer(shards: Path, runs: list[Path]) -> None:
    words = ["codes", runs[0], "--shards", shards, "--bits", 64, "--epochs", 2, "--neighbors", 3]
    table, first = call(*words), call(*words, "--json")
    assert table.exit_code == 0 and "39 images of val among 100 of train" in table.stdout, table.output
    numbers = json.loads(first.stdout)
    assert numbers["base"] == 100 and numbers["queries"] == 39
    for row in numbers["rows"]:
        assert row["recall"]["100"] == 1.0  # all 100 images are looked at
    # Codes of equal options are kept, so nothing is trained again; those of others are not taken for them.
    (kept,) = (runs[0] / "features").glob("codes-64-*.npy")
    before = kept.stat().st_mtime_ns
    assert call(*words).exit_code == 0 and kept.stat().st_mtime_ns == before
    assert call(*words, "--epochs", 1).exit_code == 0 and kept.stat().st_mtime_ns != before
    codes = kept.read_bytes()
    for path in (kept, kept.with_suffix(".safetensors")):  # damaged ones are made anew
        path.write_bytes(path.read_bytes()[:-10])
        assert call(*words, "--epochs", 1).exit_code == 0 and kept.read_bytes() == codes


def test_exported_files_are_checked_in_the_same_command(shards: Path, runs: list[Path], tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    words = ["--onnx", tmp_path / "net.onnx", "--torch-export", tmp_path / "net.pt2", "--web", tmp_path / "web"]
    result = call("export", runs[0], *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("differ from the network's by at most") == 2
    # The ONNX file gives the run's own validation numbers from pixels as stored.
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    with Loader(shards / "val", batch_size=39, augment=CenterCrop(crop=24, mean="none"), dtype=torch.uint8) as loader:
        (batch,) = loader
    (probabilities,) = session.run(["probabilities"], {"images": batch.images.float().numpy()})
    own = probabilities[range(39), batch.labels.numpy()]
    trained = json.loads((runs[0] / "result.json").read_text())
    assert (probabilities.argmax(1) != batch.labels.numpy()).mean() == pytest.approx(trained["top1_error"])
    assert -np.log(own).mean() == pytest.approx(trained["loss"], rel=1e-4)
    assert "class 5" in (tmp_path / "web" / "index.html").read_text()
    assert json.loads((tmp_path / "net.json").read_text())["input"]["shape"] == ["N", 3, 24, 24]
    assert "name at least one" in call("export", runs[0]).output


def test_the_notebook_runs_from_its_first_cell_to_its_last(shards: Path, runs: list[Path], tmp_path: Path) -> None:
    notebook = json.loads((Path(__file__).parents[2] / "examples" / "worst_confusions.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "original").symlink_to(runs[0])
    (tmp_path / "shards").symlink_to(shards)
    environment = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-c", "\n\n".join(cells)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "39 images, top-1 error" in done.stdout and "taken for" in done.stdout and "39 pictures of" in done.stdout
    assert (tmp_path / "worst.png").stat().st_size > 3000
