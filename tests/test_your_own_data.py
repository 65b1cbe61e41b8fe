"""The page "Your own data set" is true: its commands run word for word on a smaller set of flowers."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = (Path(__file__).parents[1] / "docs/tutorials/your-own-data.md").read_text()
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]
CLASSES = re.findall(r"^flowers/(\w+)/", PAGE, re.M)


def run(command: str, folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds `flowers`, ten images of each class, of a color of its own."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / "flowers" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 60, (64, 80, 3), np.uint8) + np.uint8([40 * number, 190 - 40 * number, 90])
            Image.fromarray(pixels).save(folder / f"flowers/{name}/{i}.jpg")
    return folder


def test_the_commands_up_to_training_run_as_they_stand(flowers: Path) -> None:
    look, shard, verify, inspect, grep = COMMANDS[:5]
    page = PAGE.replace("1,800", "   45").replace("  200 images", "    5 images")
    assert run(look, flowers) in page
    assert not (flowers / "shards").exists()
    run(shard, flowers)
    manifests = [json.loads((flowers / f"shards/{name}/manifest.json").read_bytes()) for name in ("train", "val")]
    assert [manifest["num_samples"] for manifest in manifests] == [45, 5]
    run(verify, flowers)
    run(inspect, flowers)
    (found,) = run(grep, flowers).splitlines()
    assert (flowers / "flowers" / json.loads(found)["source"]).is_file()


@pytest.mark.slow
def test_the_commands_from_training_on_run_as_they_stand_but_shorter(flowers: Path) -> None:
    if not (flowers / "shards").exists():
        run(COMMANDS[1], flowers)
    train, evaluate = COMMANDS[5:]
    run(f"{train} --set training.epochs=1 --set training.batch_size=15", flowers)
    assert "5 images" in run(evaluate, flowers)
