"""timm itself loads what `alexeval export --timm` writes, and computes what our network does."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from alexkit.cli.alexeval import alexeval
from alexkit.model import Network, Switches, wiring

SCRIPT = Path(__file__).with_name("timm_script.py")
RECIPE = '[network]\nkind = "cifar10-13"\n[data]\ncrop = 24\n[training]\nprecision = "fp32"\n'


@pytest.fixture
def arguments(draw_shards: Callable[..., Path], tmp_path: Path) -> list[str]:
    """A weights file, its recipe, its shards, a picture, and the folder to write."""
    network = Network(wiring(Switches(kind="cifar10-13")), 5, seed=3)
    save_file({name: 4 * x.contiguous() for name, x in network.state_dict().items()}, tmp_path / "w.safetensors")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    shards = draw_shards(num_samples=24, size_px=32, num_classes=5, format="png")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    names = [tmp_path / "w.safetensors", tmp_path / "recipe.toml", shards, tmp_path / "picture.png", tmp_path / "timm"]
    return [str(name) for name in names]


@pytest.mark.slow
def test_timm_loads_the_folder_and_gives_our_probabilities(arguments: list[str], tmp_path: Path) -> None:
    beside = os.environ.get("ALEXKIT_TIMM", "")
    if not beside and importlib.util.find_spec("timm") is None:
        pytest.skip("needs timm, installed or in the folder that ALEXKIT_TIMM names")
    paths = os.pathsep.join(part for part in (os.environ.get("PYTHONPATH", ""), beside) if part)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "found.json"), *arguments]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    run = found["run"]
    assert "by timm differ from the network's by at most" in run["said"]
    assert np.allclose(run["timm"], run["own"], atol=1e-5) and max(run["own"]) > 0.25
    assert run["tuned"] == [1, 3] and run["same"]  # for fine-tuning: another last layer on the same weights
    assert max(found["differences"].values()) < 1e-5, found["differences"]


def test_without_timm_nothing_is_written(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, recipe, shards, _, folder = arguments
    monkeypatch.setitem(sys.modules, "timm", None)
    words = ["export", weights, "--recipe", recipe, "--shards", shards, "--timm", folder]
    result = CliRunner().invoke(alexeval, words)
    assert result.exit_code == 1 and result.output.count("\n") == 1 and "pip install timm" in result.output
    assert not Path(folder).exists()
