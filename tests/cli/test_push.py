"""`push` of alexprep and alexeval to a stand-in for the Hub: what arrives, who sees it, what a refusal says."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from alexkit.model import evaluate, load_network, load_recipe
from alexkit.model.evaluation.report.card import model_card
from alexkit.model.runs.run import Run
from alexkit.model.training.trainer import Trainer

from ..hub_stand_in import Hub, hub


@pytest.fixture(scope="module")
def shards(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    (folder / "train").symlink_to(draw_shards(num_samples=20))
    (folder / "val").symlink_to(draw_shards(num_samples=8, split="val"))
    return folder


def push(
    server: Hub, home: Path, *words: object, token: str = "right", stage: str = "prep"
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "alexkit", stage, "push", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_all_files_of_all_splits_arrive_with_a_card_in_a_private_repository(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub() as server:
        done = push(server, tmp_path, shards, "me/drawn")
        assert done.returncode == 0 and "absolute paths" not in done.stderr, done.stderr
        assert done.stdout.strip() == f"{server.url}/datasets/me/drawn"
        assert server.private == {"me/drawn": True}
        sent = {path: content for (_, path), content in server.files.items()}
        for split in ("train", "val"):
            names = {path.name for path in (shards / split).iterdir()}
            assert {path for path in sent if path.startswith(split)} == {f"{split}/{name}" for name in names}
            assert all(sent[f"{split}/{name}"] == (shards / split / name).read_bytes() for name in names)
        card = sent["README.md"].decode()
        assert "| train | 20 | 2 |" in card and "path: val/val-*.tar" in card and "4 classes: class 0, class 1" in card
        monkeypatch.setenv("ALEXKIT_SHARDS", str(shards))
        again = push(server, tmp_path, "me/drawn", "--public")
        assert again.returncode == 0 and server.private == {"me/drawn": True}, "what is there stays as private as it is"


def test_a_split_that_is_sent_later_joins_the_others(
    shards: Path, tmp_path: Path, draw_shards: Callable[..., Path]
) -> None:
    """And what a smaller set replaces goes, while a README of one's own stays."""
    adopted = tmp_path / "val"
    shutil.copytree(draw_shards(num_samples=8, split="val"), adopted)
    manifest = json.loads((adopted / "manifest.json").read_text())
    with hub() as server:
        assert push(server, tmp_path, shards / "train", "me/drawn").returncode == 0
        server.files["me/drawn", "train/train-00007.tar"] = server.files["me/drawn", "train/train-00007.idx"] = b"old"
        server.files["me/drawn", "train/notes.txt"] = b"mine"
        assert push(server, tmp_path, adopted, "me/drawn").returncode == 0
        card = server.files["me/drawn", "README.md"].decode()
        assert "| train | 20 | 2 |" in card and "| val | 8 | 1 |" in card, card
        splits = yaml.safe_load(card.split("---")[1])["configs"][0]["data_files"]
        assert [one["split"] for one in splits] == ["train", "validation"] and manifest["split"] == "val"
        server.files["me/drawn", "README.md"] = b"# Mine"
        done = push(server, tmp_path, shards / "train", "me/drawn")
        assert done.returncode == 0 and "README.md was not written by alexkit and is kept" in done.stderr, done.stderr
        names = {path.removeprefix("train/") for _, path in server.files if path.startswith("train/")}
        assert names == {path.name for path in (shards / "train").iterdir()} | {"notes.txt"}
        assert server.files["me/drawn", "README.md"] == b"# Mine"


def test_public_is_asked_for_and_paths_of_this_machine_are_warned_of(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards / "val", tmp_path / "val")
    rows = [
        {"key": "0", "source": "a/1.jpg"},
        {"key": "1", "source": '/home/me/"a"/2.jpg'},
        {"key": "2", "source": "/3"},
    ]
    (tmp_path / "val/sources.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with hub() as server:
        done = push(server, tmp_path, tmp_path / "val", "me/seen", "--public", "-q")
        assert done.returncode == 0 and server.private == {"me/seen": False}
        assert (
            'val/sources.jsonl: contains 2 absolute paths or URLs, e.g. /home/me/"a"/2.jpg, visible to all'
            in done.stderr
        )


@pytest.mark.parametrize(
    ("name", "token", "words"),
    [("drawn", "right", "expected ORG/NAME"), ("me/drawn", "wrong", "the Hub refused")],
)
def test_a_wrong_name_or_token_is_one_line(shards: Path, tmp_path: Path, name: str, token: str, words: str) -> None:
    with hub() as server:
        done = push(server, tmp_path, shards, name, token=token)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert server.files == {}


def test_a_hub_that_does_not_answer_is_one_line(shards: Path, tmp_path: Path) -> None:
    with hub() as server:
        pass
    done = push(server, tmp_path, shards, "me/drawn")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert f"me/drawn: the Hub at {server.url} does not answer" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_full_disk_does_not_keep_anything_from_being_sent(shards: Path, tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(4096))
    with hub() as server:
        done = push(server, small_disk / "home", shards, "me/drawn")
        assert done.returncode == 0, done.stderr
        assert len(server.files) > 10


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch, with the metrics of its evaluation beside it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    overrides = ["network.kind=cifar10-13", "data.crop=24", "training.epochs=1", "training.batch_size=10"]
    trainer = Trainer(load_recipe("cifar10-19", overrides), shards, folder, device="cpu")
    trainer.run()
    trainer.close()
    metrics = evaluate(load_network(folder), shards, views=["center", "nine"]).metrics()
    (folder.parent / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_a_run_arrives_as_a_run_that_is_read_like_the_one_sent(run: Path, shards: Path, tmp_path: Path) -> None:
    with hub() as server:
        done = push(server, tmp_path, run, "me/tiny", "--metrics", run.parent / "metrics.json", stage="eval")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == f"{server.url}/me/tiny" and server.private == {"me/tiny": True}
        for (_, name), content in server.files.items():
            path = tmp_path / "arrived" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    here, there = (load_network(folder) for folder in (run, tmp_path / "arrived"))
    assert here.origin.sha256 == there.origin.sha256 and there.class_names == here.class_names
    assert np.array_equal(here.mean_CHW(), there.mean_CHW())
    card = (tmp_path / "arrived/README.md").read_text()
    metrics = json.loads((run.parent / "metrics.json").read_text())["rows"][0]
    for title, view in (("center crop", "center"), ("nine views", "nine")):
        assert f"| val | 8 | {title} | {metrics[view]['top1_error']:.2%} |" in card
    results = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"]
    assert [one["metrics"][0]["value"] for one in results] == [
        round(1 - metrics[view]["top1_error"], 6) for view in ("center", "nine")
    ]


def test_a_card_without_metrics_shows_the_validation_of_the_run(run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run, tmp_path / "run"))
    config = (run / "config.json").read_text()
    (run / "config.json").write_text(config.replace('"start_from": ""', '"start_from": "/home/me/w.safetensors"'))
    with hub() as server:
        done = push(server, tmp_path, run, "me/tiny", "--public", stage="eval")
        assert done.returncode == 0, done.stderr
        assert server.private == {"me/tiny": False}
        assert "config.json: contains /home/me/w.safetensors (training.start_from), visible to all" in done.stderr
        error = json.loads((run / "result.json").read_text())["top1_error"]
        assert f"| val | 8 | center crop | {error:.2%} |" in server.files["me/tiny", "README.md"].decode()


def test_a_card_of_another_checkpoint_does_not_show_the_last_validation(run: Path) -> None:
    opened = Run.open(run)
    assert opened.result and "| val | 8 |" in model_card(opened, opened.result["steps"], None, "me/tiny")
    assert "It has not been scored." in model_card(opened, opened.result["steps"] - 1, None, "me/tiny")


def test_one_checkpoint_is_at_the_hub_and_a_readme_of_ones_own_stays(run: Path, tmp_path: Path) -> None:
    with hub() as server:
        server.private["me/tiny"] = True
        server.files["me/tiny", "README.md"] = b"# Mine"
        server.files["me/tiny", "checkpoints/step-99999999/weights.safetensors"] = b"of a longer run"
        done = push(server, tmp_path, run, "me/tiny", stage="eval")
        assert done.returncode == 0 and "was not written by alexkit and is kept" in done.stderr, done.stderr
        assert server.files["me/tiny", "README.md"] == b"# Mine"
        sent = [path for _, path in server.files if path.startswith("checkpoints/")]
        assert sent and not any("99999999" in path for path in sent)


def test_names_that_are_patterns_are_sent(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/shard[1].tar").write_bytes(b"1")
    (tmp_path / "set/shard1.tar").write_bytes(b"another")
    code = "import sys, pathlib; from alexkit.hub import push_folder; push_folder(pathlib.Path(sys.argv[1]), 'me/x', "
    code += "kind='dataset', public=False, card=None, files=['shard[1].tar'], into='train')"
    with hub() as server:
        environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_TOKEN": "right", "HF_HOME": str(tmp_path)}
        environment |= {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        subprocess.run([sys.executable, "-c", code, tmp_path / "set"], env=environment, check=True, timeout=120)
        assert server.files == {("me/x", "train/shard[1].tar"): b"1"}


def test_metrics_of_other_weights_are_not_shown(run: Path, tmp_path: Path) -> None:
    other = json.loads((run.parent / "metrics.json").read_text())
    other["rows"][0]["checkpoint"]["sha256"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(other))
    with hub() as server:
        done = push(server, tmp_path, run, "me/tiny", "--metrics", tmp_path / "other.json", stage="eval")
        assert done.returncode == 1 and "of other weights" in done.stderr and "--checkpoint" in done.stderr
        (tmp_path / "other.json").write_text(json.dumps(other | {"labels": "real.json"}))
        done = push(server, tmp_path, run, "me/tiny", "--metrics", tmp_path / "other.json", stage="eval")
        assert done.returncode == 1 and "by the labels of real.json; evaluate without --labels" in done.stderr
        assert server.files == {}
