"""Mutations of what a training reads: recipes, the run's configuration, result, log, and the state of checkpoints."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from alexkit.errors import InputError
from alexkit.model.evaluation.load import choose_checkpoint
from alexkit.model.runs import checkpoint
from alexkit.model.runs.checkpoint import newest_checkpoint, read_checkpoint, save_checkpoint
from alexkit.model.runs.load import built_in_recipes, load_about, load_recipe
from alexkit.model.runs.log import RunLog
from alexkit.model.runs.progress import Progress
from alexkit.model.runs.run import CONFIG_VERSION, Run

from .mutations import PROFILES, fuzz, fuzz_json

pytestmark = pytest.mark.faults

RECIPE = b"""base = "cifar10-19"
name = "mine"

[about]
title = "a test"
claims = ["t1"]

[network]
kind = "cifar10-19"

[data]
crop = 24
mean = [1.0, 2.0, 3.0]
jitter = "off"

[training]
epochs = 3
rate = 0.01
start_layers = ["conv*"]
rates = {conv1 = 0.5}
changes = [{epoch = 2, jitter = "paper"}]

[[training.param_groups]]
match = ["conv1.*"]
rates = [[0, 0.002], [2, 0]]
"""
# Nested deeper than Python's stack, in the ways that need no recursion to write; numbers of more digits than any type.
DEEP = {
    "lists": b"x = " + b"[" * 5000 + b"]" * 5000,
    "tables": b"x = " + b"{a=" * 5000 + b"1" + b"}" * 5000,
    "dotted keys": b".".join([b"a"] * 5000) + b" = 1",
    "dotted keys in a section": b"[training]\n" + b".".join([b"rates"] * 5000) + b" = 1",
    "a dotted table": b"[training." + b".".join([b"a"] * 5000) + b"]\nx = 1",
    "400 digits": b"[training]\nepochs = " + b"9" * 400,
    "400 digits of a rate": b"[training]\nrate = " + b"9" * 400,
    "5,000 digits": b"[training]\nepochs = " + b"9" * 5000,
    "infinity": b"[training]\nrate = inf",
    "no number": b"[training]\nrate = nan",
    "a zero byte as base": b'base = "\\u0000.toml"',
    "a long base": b'base = "' + b"a" * 5000 + b'.toml"',
    "itself": b'base = "recipe.toml"',
}


def read_recipe(path: Path) -> None:
    load_recipe(str(path))
    load_about(str(path))


@pytest.mark.parametrize("num_examples", PROFILES)
def test_recipe(tmp_path: Path, num_examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("recipe.toml")

    def parse(content: bytes) -> None:
        path.write_bytes(content)
        read_recipe(path)

    parse(RECIPE)
    fuzz(RECIPE, parse, num_examples)


@pytest.mark.parametrize("kind", DEEP)
def test_a_recipe_that_overdoes_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("recipe.toml")
    path.write_bytes(DEEP[kind])
    with pytest.raises((InputError, OSError)) as refused:
        read_recipe(path)
    assert len(str(refused.value)) < 8000
    with pytest.raises(InputError):
        load_recipe("cifar10-19", [DEEP[kind].decode().split("\n")[-1].replace(" = ", "=", 1)])


@pytest.mark.parametrize("num_examples", PROFILES)
def test_recipe_in_json(tmp_path: Path, num_examples: int) -> None:
    path = tmp_path / "config.json"

    def parse(content: bytes) -> None:
        path.write_bytes(content)
        load_recipe(str(path))

    recipes = {name: load_recipe(name).to_json() for name in built_in_recipes()[:2]}
    for recipe in recipes.values():
        fuzz_json(json.dumps({"recipe": recipe}).encode(), parse, num_examples)


@pytest.fixture
def config() -> Mapping[str, Any]:
    """The content of a `config.json` with everything that one can hold."""
    return {
        "version": CONFIG_VERSION,
        "recipe": load_recipe("cifar10-19").to_json(),
        "history": [{"step": 3, "set": {"training.rate": 0.1}}],
        "data": {
            "class_ids": ["a", "b"],
            "class_names": ["cat", "dog"],
            "statistics_sha256": "0" * 64,
            "pixels": {"size_px": 32, "format": "png"},
        },
    }


@pytest.mark.parametrize("num_examples", PROFILES)
def test_configuration(tmp_path: Path, config: Mapping[str, Any], num_examples: int) -> None:
    def parse(content: bytes) -> None:
        (tmp_path / "config.json").write_bytes(content)
        run = Run.open(tmp_path)
        run.recipe_at()
        run.recipe_at(5)
        run.next_change(1)
        assert run.data.classes

    content = json.dumps(config).encode()
    parse(content)
    fuzz(content, parse, num_examples)
    fuzz_json(content, parse, num_examples)


def test_null_among_class_ids_is_refused(tmp_path: Path, config: Mapping[str, Any]) -> None:
    data = {**config["data"], "class_ids": [None, "b"]}
    (tmp_path / "config.json").write_text(json.dumps({**config, "data": data}))
    with pytest.raises(InputError, match=r"config\.json: damaged field \(class_ids"):
        Run.open(tmp_path)


@pytest.mark.parametrize("num_examples", PROFILES)
def test_result(tmp_path: Path, config: Mapping[str, Any], num_examples: int) -> None:
    """A record: what is damaged counts as not there."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    run = Run.open(tmp_path)

    def parse(content: bytes) -> None:
        (tmp_path / "result.json").write_bytes(content)
        assert run.result is None or run.result["epochs"] >= 0

    best = {"epochs": 3, "steps": 9, "images": 4, "loss": 1.0, "top1_error": 0.5, "best_top1_error": 0.5}
    content = json.dumps(best).encode()
    fuzz(content, parse, num_examples)
    fuzz_json(content, parse, num_examples)


LINES = [
    {"kind": "train", "step": 2, "loss": 1.0, "top1_error": 0.5, "rate": 0.1, "images_per_s": 3.0},
    {"kind": "val", "step": 3, "loss": 1.0, "top1_error": 0.5, "top5_error": 0.1},
]


@pytest.mark.parametrize("num_examples", PROFILES)
def test_log(tmp_path: Path, num_examples: int) -> None:
    """No line of a log stops a run: what is damaged is moved aside."""

    def parse(content: bytes) -> None:
        (tmp_path / "log.jsonl").write_bytes(content)
        with RunLog(tmp_path, 5) as log:
            log.write("train", 6, loss=1.0, top1_error=0.5, rate=0.1)
        lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_bytes().splitlines()]
        assert lines[-1]["step"] == 6 and all(line["step"] <= 5 for line in lines[:-1])

    fuzz(b"".join(json.dumps(line).encode() + b"\n" for line in LINES), parse, num_examples)
    for line in LINES:
        fuzz_json(json.dumps(line).encode(), lambda changed: parse(changed + b"\n"), num_examples // 2)
    for value in ("[]", "{}", "9" * 400, "null", "NaN"):
        for key in LINES[0]:
            old = json.dumps(LINES[0][key])
            parse(json.dumps(LINES[0]).replace(f'"{key}": {old}', f'"{key}": {value}').encode() + b"\n")


@pytest.mark.parametrize("num_examples", PROFILES)
@pytest.mark.parametrize("with_hash", [False, True], ids=["as it is", "with its hash mended"])
def test_state_of_a_checkpoint(
    tmp_path: Path, num_examples: int, with_hash: bool, caplog: pytest.LogCaptureFixture
) -> None:
    best = {"error": 0.5, "step": 1}
    state = {"progress": Progress().to_json() | {"best": best}, "loader": {"position": 0}}
    (tmp_path / "checkpoints").mkdir()
    for step in (1, 2):
        save_checkpoint(tmp_path / "checkpoints", step, {"w": torch.ones(2)}, {"w": torch.ones(2)}, state)
    path = tmp_path / "checkpoints/step-00000002/state.json"

    def parse(content: bytes) -> None:
        if with_hash:
            content = rehashed(content)
        path.write_bytes(content)
        caplog.clear()
        newest = newest_checkpoint(tmp_path / "checkpoints")
        assert newest is not None and "Error(" not in caplog.text
        Progress.from_json(newest.state.get("progress"), where=str(newest.folder))
        for choice in ("last", "best", 2):
            choose_checkpoint(tmp_path, choice)  # type: ignore[arg-type]

    content = path.read_bytes()
    parse(content)
    fuzz(content, parse, num_examples)
    fuzz_json(content, parse, num_examples)


def rehashed(content: bytes) -> bytes:
    """A state whose own hash is right again, where it has one."""
    try:
        state = json.loads(content)
        hashes = state.pop("sha256")
        hashes["state.json"] = checkpoint._sha256_of_state(state)
    except (ValueError, KeyError, TypeError, AttributeError):
        return content
    return json.dumps({**state, "sha256": hashes}).encode()


@pytest.mark.parametrize("name", ["step-00000002 (copy)", "step-x", "step-"])
def test_what_only_looks_like_a_checkpoint_is_passed_over(tmp_path: Path, name: str) -> None:
    tensors = {"w": torch.ones(2)}
    (tmp_path / "checkpoints").mkdir()
    save_checkpoint(tmp_path / "checkpoints", 1, tensors, tensors, {"progress": {}})
    (tmp_path / "checkpoints" / name).mkdir()
    assert choose_checkpoint(tmp_path, "last").step == 1
    read_checkpoint(tmp_path / "checkpoints/step-00000001")
    save_checkpoint(tmp_path / "checkpoints", 2, tensors, tensors, {"progress": {}})
    save_checkpoint(tmp_path / "checkpoints", 3, tensors, tensors, {"progress": {}})
    assert (tmp_path / "checkpoints" / name).exists(), "it is not ours to remove"
