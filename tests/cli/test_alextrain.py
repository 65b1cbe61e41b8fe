import functools
import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alexkit.cli.alextrain import alextrain
from alexkit.errors import InputError
from alexkit.model.training.learner import Learner
from alexkit.model.training.step import PendingStep
from alexkit.prep import ShardSet

SMALL = ["--set", "training.batch_size=16", "--set", "training.epochs=2", "--set", "schedule.kind=linear"]


@pytest.fixture(scope="module")
def shards(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    (folder / "train").symlink_to(draw_shards(num_samples=100, size_px=32))
    (folder / "val").symlink_to(draw_shards(num_samples=40, size_px=32, split="val"))
    return folder


def call(*words: object) -> Result:
    return CliRunner().invoke(alextrain, [str(word) for word in words])


def one_line(result: Result) -> str:
    """The error of a refused command: one line, a non-zero status, no traceback."""
    assert result.exit_code not in (0, None)
    assert "Traceback" not in result.output
    lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.output
    return lines[0]


@pytest.fixture(scope="module")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    result = call("--shards", shards, "--recipe", "cifar10-19", "--runs", folder, *SMALL)
    assert result.exit_code == 0, result.output
    assert "40 images after 2 epochs" in result.output and "top-1 error" in result.output
    assert str(folder / "cifar10-19" / "curves.png") in result.output
    error, clock = r"\d+\.\d%", r"\d+:\d\d"
    for epoch in (1, 2):
        line = rf"^epoch {epoch}/2  train loss \d\.\d\d  val top-1 error {error} \(best {error} at [12]\).*  {clock}$"
        assert re.search(line, result.stderr, re.MULTILINE), result.stderr
    return folder


def test_a_run_is_named_after_its_recipe_and_says_when_it_is_finished(shards: Path, runs: Path) -> None:
    result = call("--shards", shards, "--recipe", "cifar10-19", "--runs", runs, *SMALL)
    assert result.exit_code == 0
    assert "is finished; raise training.epochs to continue, or choose another --name to train again" in result.output


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (2, "interrupted; the same command continues or starts over"),
        (8, "interrupted; a checkpoint of step 6 is kept in {run}; the same command resumes"),
    ],
)
def test_a_run_that_ends_at_once_names_the_checkpoint_that_it_has(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, words: str
) -> None:
    begin_step = Learner.begin_step

    def end_at_once(learner: Learner, *given: Any, **options: Any) -> PendingStep:
        if learner.step == step:
            raise KeyboardInterrupt  # as a second signal does
        return begin_step(learner, *given, **options)

    monkeypatch.setattr(Learner, "begin_step", end_at_once)
    result = call("--shards", shards, "--recipe", "cifar10-19", "--runs", tmp_path, "--name", "run", *SMALL)
    assert result.exit_code == 130 and result.stderr.splitlines()[-1] == words.format(run=tmp_path / "run")


@pytest.mark.parametrize("key", ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"])
def test_a_job_that_is_started_again_does_not_give_up_its_own_work(
    shards: Path, runs: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(key, "1")
    result = call("--shards", shards, "--recipe", "cifar10-19", "--runs", runs, *SMALL, "--restart")
    assert result.exit_code == 0 and "is finished" in result.output
    assert f"--restart is ignored: {key} shows that this job was restarted" in result.stderr


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ([], ["training.rates.conv1=0"], "training.rates.conv1 = nothing, now 0.0"),
        (["training.rates.conv1=0"], [], "training.rates.conv1 = 0.0, now nothing"),
        (["training.rates.conv1=0"], ["training.rates.conv2=0"], "training.rates.conv1 = 0.0, now nothing"),
        (["training.rates.conv1=0"], ["training.rates.conv1=0.5"], "training.rates.conv1 = 0.0, now 0.5"),
    ],
)
def test_a_run_is_not_continued_with_rates_that_it_was_not_started_with(
    first: list[str], then: list[str], words: str, shards: Path, tmp_path: Path
) -> None:
    def train(overrides: list[str]) -> Result:
        options = [word for override in overrides for word in ("--set", override)]
        return call("--shards", shards, "--recipe", "cifar10-19", "--runs", tmp_path, *SMALL, *options)

    assert train(first).exit_code == 0
    assert f"this run was started with {words}; choose another --name" in one_line(train(then))
    assert train(first).exit_code == 0


def test_help_shows_the_recipe_option() -> None:
    done = subprocess.run([sys.executable, "-m", "alexkit.cli.alextrain", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--recipe" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--shards", "nowhere"], "--shards nowhere: no such folder; name one that 'alexprep shard' wrote"),
        (["--shards", "."], "--shards .: holds no train/; name a folder"),
        (["--shards", "{shards}", "--name", "../x"], "'--name': expected the name of a folder in --runs, got '../x'"),
        (["--shards", "{shards}", "--name", "/x"], "'--name': expected the name of a folder in --runs, got '/x'"),
        (["--shards", "{shards}", "--name", ""], "'--name': expected the name of a folder in --runs, got ''"),
        ([], "--shards shards: no such folder; name one that 'alexprep shard' wrote"),
        (["--shards", "{shards}", "--recipe", "papper"], "no recipe 'papper'; did you mean paper?"),
        (["--shards", "{shards}", "--set", "training.epoch=3"], "unknown key training.epoch; the nearest is"),
        (["--shards", "{shards}", "--device", "tpu"], "--device tpu: expected cpu or cuda:N, or auto"),
        (["--shards", "{shards}", "--device", "cuda:99"], "--device cuda:99: this machine has"),
        (["--shards", "{shards}", "--recipe", "quick"], "a crop of 224 px does not fit images of 32 px"),
        (
            ["--shards", "{shards}", "--recipe", "quick"],
            "(--recipe cifar10-19), make larger shards (alexprep shard --size 256)",
        ),
        (["--shards", "{shards}/train"], "/train: this is one split; pass the folder above"),
        (
            ["--shards", "{shards}", "--recipe", "cifar10-19", "--set", "training.batch_size=1000"],
            "choose a batch_size of at most 100, in a recipe --set training.batch_size=100",
        ),
    ],
)
def test_wrong_uses_end_in_one_clear_line(
    words: list[str], expected: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in one_line(call(*[word.format(shards=shards) for word in words]))
    assert not (tmp_path / "runs").exists()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        return


def test_one_split_at_a_url_is_named_by_the_url(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setenv("ALEXKIT_CACHE", str(tmp_path))
    files = functools.partial(_Quiet, directory=str(shards))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        result = call("--shards", f"{url}/train")
        server.shutdown()
    words = f"{url}/train: this is one split; pass the folder above, {url}"
    assert words in one_line(result) and str(tmp_path) not in result.output
    (face,) = (tmp_path / "sets").iterdir()
    with pytest.raises(InputError, match=re.escape(words.replace(";", ", and has no val/;"))):
        ShardSet.open(face / "val")


def test_a_mistake_in_the_command_line_fetches_nothing() -> None:
    """It once was told after the manifests had come, or never where the store did not answer."""
    result = call("--shards", "http://127.0.0.1:9/set", "--columns", "3")
    assert result.exit_code == 2 and "--columns" in one_line(result)


@pytest.mark.parametrize("words", [["--shard", "x"], ["--shards", "x", "--columns", "3"], ["--epochs", "3"]])
def test_unknown_options_are_refused(words: list[str]) -> None:
    result = call(*words)
    assert result.exit_code == 2 and "Error: " in result.output and "Traceback" not in result.output


def test_a_run_from_another_dataset_is_refused_in_one_line(
    draw_shards: Callable[..., Path], runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "train").symlink_to(draw_shards(num_samples=60, size_px=32, num_classes=3))
    (tmp_path / "val").symlink_to(draw_shards(num_samples=30, size_px=32, num_classes=3, split="val"))
    words = one_line(call("--shards", tmp_path, "--recipe", "cifar10-19", "--runs", runs, *SMALL))
    assert "this run was trained on another dataset" in words


def test_two_processes_are_refused_for_a_network_of_one_column(shards: Path, tmp_path: Path) -> None:
    words = one_line(call("--shards", shards, "--recipe", "cifar10-19", "--runs", tmp_path, "--columns", 2))
    assert "--columns 2: this network has 1 column; use --columns 1" in words


def test_a_dry_run_tells_what_would_be_and_leaves_nothing(shards: Path, tmp_path: Path) -> None:
    result = call("--shards", shards, "--recipe", "cifar10-19", "--runs", tmp_path / "runs", "--dry-run", *SMALL)
    assert result.exit_code == 0, result.output
    assert '"epochs": 2' in result.output
    assert re.search(r"conv1 +32 x 32 x 32 +32,768 +2,432", result.output)
    assert "images/s" in result.output and "2 epochs take about" in result.output
    assert re.search(r"memory at most \d+\.\d GB\n", result.output)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_of_a_chain_needs_no_predecessor(shards: Path, tmp_path: Path) -> None:
    words = ["--shards", shards, "--recipe", "cifar10-19", *SMALL, "--runs", tmp_path, "--set"]
    chain = ["training.start_from=first", "--set", "training.start_layers=['conv1']"]
    (tmp_path / "first").mkdir()  # begun, and nothing is saved yet
    (tmp_path / "first/config.json").write_text("{}")
    result = call(*words, *chain, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    forecast = json.loads(result.stdout)
    assert forecast["recipe"]["training"]["start_from"] == "first" and forecast["forecast"]["run_s"] > 0
    assert "training.start_from = 'first': no weights there yet" in result.stderr
    assert "the run itself needs them" in result.stderr
    refused = call(*words, "training.start_from=second")
    assert refused.exit_code == 1 and "start_from = 'second': no such file or run folder" in refused.output


def test_bench_data_names_what_limits_loading_and_trains_nothing(shards: Path, tmp_path: Path) -> None:
    result = call("--shards", shards, "--recipe", "cifar10-19", "--runs", tmp_path / "runs", "--bench-data", *SMALL)
    assert result.exit_code == 0, result.output
    for stage in ("reading", "rest of the graph", "whole loader"):
        assert stage in result.output
    assert "The limit is " in result.output.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


def test_results_and_forecasts_are_given_as_json(shards: Path, runs: Path, tmp_path: Path) -> None:
    def answer(*words: object) -> dict[str, Any]:
        result = call("--shards", shards, "--recipe", "cifar10-19", *SMALL, "--json", *words)
        assert result.exit_code == 0, result.output
        data: dict[str, Any] = json.loads(result.stdout)
        return data

    stored = json.loads((runs / "cifar10-19/result.json").read_text())
    assert answer("--runs", runs) == {"run": str(runs / "cifar10-19"), **stored}
    forecast = answer("--runs", tmp_path, "--dry-run")
    assert forecast["recipe"]["training"]["epochs"] == 2 and forecast["forecast"]["run_s"] > 0
    assert forecast["layers"][0]["weights"] == 2400 and forecast["steps_per_epoch"] == 6
    speeds = answer("--runs", tmp_path, "--bench-data")
    assert speeds["images_per_s"]["loader"] > 0 and speeds["limit"].startswith("The limit is ")


def test_measures_that_exclude_each_other_are_refused(shards: Path, tmp_path: Path) -> None:
    for words in (["--dry-run", "--bench-data"], ["--bench-data", "--columns", "2"]):
        assert "leave out" in one_line(call("--shards", shards, "--runs", tmp_path / "runs", *words))
