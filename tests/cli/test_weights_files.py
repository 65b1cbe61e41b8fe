"""Every command of alexeval takes torchvision's and Caffe's AlexNet as files, at their full size."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from alexkit.cli.alexeval import alexeval
from alexkit.model import Network, Switches, wiring
from alexkit.model.runs.weights import _TORCHVISION_NAMES, CAFFE_NETWORK, TORCHVISION_STD
from alexkit.pipeline import CenterCrop, Loader

from ..model.network.caffe_files import caffemodel

pytestmark = pytest.mark.slow

NUM_CLASSES, NUM_TRAIN, NUM_VAL = 6, 20, 9


@pytest.fixture(scope="module")
def shards(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    options = {"size_px": 256, "num_classes": NUM_CLASSES, "format": "png"}
    (folder / "train").symlink_to(draw_shards(num_samples=NUM_TRAIN, **options))
    (folder / "val").symlink_to(draw_shards(num_samples=NUM_VAL, split="val", **options))
    return folder


def lively(switches: Switches) -> dict[str, torch.Tensor]:
    """Weights whose activations keep their size from layer to layer, so that images get answers of their own."""
    network = Network(wiring(switches), NUM_CLASSES)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for size in network.sizes:
            deviation = (2 / size.inputs) ** 0.5 * (0.1 if size.name == "fc8" else 1)
            network.get_parameter(f"{size.name}.weight").normal_(0, deviation, generator=generator)
    return {name: x.detach().clone().contiguous() for name, x in network.state_dict().items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, torch.Tensor]]]:
    """Both files, and our weights that they hold in their makers' names, orders and scales."""
    folder = tmp_path_factory.mktemp("weights")
    owt, caffe = lively(Switches(kind="owt")), lively(CAFFE_NETWORK)
    theirs = {f"{_TORCHVISION_NAMES[key.split('.')[0]]}.{key.split('.')[1]}": x for key, x in owt.items()}
    scale = 255 * torch.tensor(TORCHVISION_STD)[:, None, None]
    theirs["features.0.weight"] = theirs["features.0.weight"] * scale
    save_file(theirs, folder / "alexnet-torchvision.safetensors")
    blobs = {name: (x.flip(1) if name == "conv1.weight" else x).numpy() for name, x in caffe.items()}
    (folder / "bvlc_alexnet.caffemodel").write_bytes(caffemodel(blobs))
    return {
        "torchvision": (folder / "alexnet-torchvision.safetensors", owt),
        "caffe": (folder / "bvlc_alexnet.caffemodel", caffe),
    }


def call(*words: object) -> Result:
    result = CliRunner().invoke(alexeval, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


def plain(kind: str, weights: dict[str, torch.Tensor], shards: Path) -> torch.Tensor:
    """Probabilities of the validation images, by torch's functions alone, float64 (N, classes)."""
    crop = {"torchvision": 224, "caffe": 227}[kind]
    w = {name: x.double() for name, x in weights.items()}
    pixels = {}
    for split in ("train", "val"):
        augment = CenterCrop(crop=256, mean="none")
        with Loader(shards / split, batch_size=NUM_TRAIN, augment=augment, dtype=torch.uint8) as loader:
            batch = next(iter(loader))
            pixels[split] = batch.images[batch.mask].double()
    start = (256 - crop) // 2
    mean = 255 * torch.tensor((0.485, 0.456, 0.406)).double()[:, None, None]
    if kind == "caffe":
        mean = pixels["train"].mean(0)[:, start : start + crop, start : start + crop]
    x = pixels["val"][:, :, start : start + crop, start : start + crop] - mean

    def conv(name: str, x: torch.Tensor, **options: int) -> torch.Tensor:
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **options).relu()

    if kind == "torchvision":
        x = F.max_pool2d(conv("conv1", x, stride=4, padding=2), 3, 2)
        x = F.max_pool2d(conv("conv2", x, padding=2), 3, 2)
        x = conv("conv5", conv("conv4", conv("conv3", x, padding=1), padding=1), padding=1)
    else:
        norm = torch.nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
        x = F.max_pool2d(norm(conv("conv1", x, stride=4)), 3, 2)
        x = F.max_pool2d(norm(conv("conv2", x, padding=2, groups=2)), 3, 2)
        x = conv("conv4", conv("conv3", x, padding=1), padding=1, groups=2)
        x = conv("conv5", x, padding=1, groups=2)
    x = F.max_pool2d(x, 3, 2).flatten(1)
    for name in ("fc6", "fc7"):
        x = F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"]).relu()
    return F.linear(x, w["fc8.weight"], w["fc8.bias"]).softmax(1)


@pytest.mark.parametrize("kind", ["torchvision", "caffe"])
def test_a_file_of_weights_goes_through_every_command(
    kind: str, files: dict[str, tuple[Path, dict[str, torch.Tensor]]], shards: Path, tmp_path: Path
) -> None:
    path, weights = files[kind]
    expected = plain(kind, weights, shards).numpy()
    same = ("--shards", shards, "--precision", "fp32")  # by default it is bfloat16 on some processors
    result = call(*same, path, "--report", tmp_path / "report", "--neighbors", "--json")
    row = json.loads(result.stdout)["rows"][0]
    assert row["precision"] == "float32"
    labels = np.arange(NUM_VAL) % NUM_CLASSES
    assert row["center"]["loss"] == pytest.approx(-np.log(expected[np.arange(NUM_VAL), labels]).mean(), rel=1e-3)
    assert row["center"]["top1_error"] == pytest.approx((expected.argmax(1) != labels).mean())
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Nearest training images" in page and path.name in page

    with Loader(shards / "val", batch_size=1, augment=CenterCrop(crop=256, mean="none"), dtype=torch.uint8) as loader:
        first = next(iter(loader)).images[0].permute(1, 2, 0).numpy()
    Image.fromarray(first).save(tmp_path / "first.png")
    answer = json.loads(call("predict", *same, path, tmp_path / "first.png", "--json").stdout)
    assert answer["guesses"][0]["class"] == f"class {expected[0].argmax()}"
    assert answer["guesses"][0]["probability"] == pytest.approx(expected[0].max(), rel=2e-3)
    found = call("neighbors", *same, path, tmp_path / "first.png", "--split", "val", "--json")
    nearest = json.loads(found.stdout)["neighbors"]
    assert nearest[0]["key"] == "sample-0000" and nearest[0]["distance"] < 0.1 * nearest[1]["distance"]

    call("filters", path, "--out", tmp_path / "filters.png")
    assert (tmp_path / "filters.png").read_bytes()[:4] == b"\x89PNG"
    words = ["--bits", 32, "--epochs", 1, "--neighbors", 3, "--json"]
    assert json.loads(call("codes", *same, path, *words).stdout)["base"] == NUM_TRAIN

    runtime = pytest.importorskip("onnxruntime")
    names = [tmp_path / "net.onnx", tmp_path / "net.pt2", tmp_path / "web"]
    words = [word for pair in zip(("--onnx", "--torch-export", "--web"), names, strict=True) for word in pair]
    assert "differ from the network's by at most" in call("export", path, "--shards", shards, *words).stdout
    session = runtime.InferenceSession(names[0], providers=["CPUExecutionProvider"])
    crop = session.get_inputs()[0].shape[-1]
    start = (256 - crop) // 2
    pixels = first[start : start + crop, start : start + crop].transpose(2, 0, 1)[None].astype(np.float32)
    (probabilities,) = session.run(["probabilities"], {"images": pixels})
    assert np.allclose(probabilities[0], expected[0], atol=1e-4)


def test_timms_columns_of_a_file_name_its_crop(
    files: dict[str, tuple[Path, dict[str, torch.Tensor]]], shards: Path, tmp_path: Path
) -> None:
    for path, _ in files.values():
        call("--shards", shards, path, "--views", "center", "--results", tmp_path / "timm.csv")
    rows = list(csv.DictReader((tmp_path / "timm.csv").open()))
    assert [row["img_size"] for row in rows] == ["224", "227"]
