"""What docs/how-to/use-elsewhere.md tells: its code runs, and a browser computes what the network does."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from alexkit.cli.alexeval import alexeval
from alexkit.model import Network, Switches, load_network, wiring

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "use-elsewhere.md"
RECIPE = '[network]\nkind = "cifar10-13"\n[data]\ncrop = 24\n[training]\nprecision = "fp32"\n'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-extensions --virtual-time-budget=120000 --dump-dom"
)


@pytest.fixture(scope="module")
def folder(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that `alexeval export` writes, and a picture of the size of stored images, which nobody has to scale."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("elsewhere")
    network = Network(wiring(Switches(kind="cifar10-13")), 7, seed=3)
    save_file({name: 4 * x.contiguous() for name, x in network.state_dict().items()}, folder / "w.safetensors")
    (folder / "recipe.toml").write_text(RECIPE)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    (folder / "shards").symlink_to(draw_shards(num_samples=24, size_px=32, num_classes=7, format="png"))
    words = ["export", "w.safetensors", "--recipe", "recipe.toml", "--shards", "shards", "--web", "page"]
    words = [str(folder / word) if word[0] != "-" and word != "export" else word for word in words]
    words += ["--onnx", str(folder / "alexnet.onnx"), "--torch-export", str(folder / "alexnet.pt2")]
    result = CliRunner().invoke(alexeval, words)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> torch.Tensor:
    network = load_network(folder / "w.safetensors", recipe=str(folder / "recipe.toml"), shards=folder / "shards")
    return network.predict([folder / "picture.png"])[0]


def test_the_code_of_the_page_runs_as_it_stands(folder: Path, expected: torch.Tensor) -> None:
    blocks = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    printed = [
        subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True, check=True).stdout
        for block in blocks
    ]
    name, value = printed[0].rsplit(maxsplit=1)
    assert name == f"class {expected.argmax()}" and float(value) == pytest.approx(float(expected.max()), abs=1e-5)
    assert "torch.Size([8, 7])" in printed[1]


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """The page, served, with the runtime beside it that the docs tell to install."""
    npm = shutil.which("npm")
    if CHROMIUM is None or npm is None:
        pytest.skip("needs Chromium and npm: apt-get install chromium npm")
    install = [npm, "install", "--no-fund", "--no-audit", "--prefix", str(folder / "page"), "onnxruntime-web"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm could not install onnxruntime-web: {done.stderr[-300:]}")
    shutil.copy(folder / "picture.png", folder / "page")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder / "page"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/index.html?image=picture.png"
        server.shutdown()
        thread.join()


def test_a_browser_gives_the_networks_probabilities(address: str, expected: torch.Tensor, tmp_path: Path) -> None:
    command = [str(CHROMIUM), *QUIET.split(), f"--user-data-dir={tmp_path}", address]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "HOME": str(tmp_path)}
    )
    shown = re.findall(r'<li data-class="(\d)" data-probability="([^"]+)"', done.stdout)
    assert len(shown) == 5, done.stdout[-2000:]
    best = expected.topk(5)
    assert [int(number) for number, _ in shown] == best.indices.tolist()
    assert np.allclose([float(value) for _, value in shown], best.values.numpy(), atol=1e-6)
    assert 0.3 < float(best.values[0]) < 0.9999
