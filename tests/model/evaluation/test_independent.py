"""The numbers of an evaluation against one that shares no code with it: plain torch, Pillow and scikit-learn.

Images come out of the tars by `tarfile` and Pillow, the mean out of the images, the network out of the weights file.
"""

import functools
import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from alexkit.model import EvaluationResult, Network, Switches, evaluate, load_network, wiring

sklearn_metrics = pytest.importorskip("sklearn.metrics")
calibration = pytest.importorskip("sklearn.calibration")

NUM_IMAGES, NUM_CLASSES, PX, CROP = 90, 7, 32, 24
RECIPE = """
[network]
kind = "cifar10-13"
[data]
crop = 24
flip = true
[training]
precision = "fp32"
"""


@pytest.fixture(scope="module")
def folder(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("independent")
    options = {"size_px": PX, "num_classes": NUM_CLASSES, "format": "png"}
    (folder / "train").symlink_to(draw_shards(num_samples=30, **options))
    (folder / "val").symlink_to(draw_shards(num_samples=NUM_IMAGES, split="val", **options))
    network = Network(wiring(Switches(kind="cifar10-13")), NUM_CLASSES)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for size in network.sizes:
            network.get_parameter(f"{size.name}.weight").normal_(0, (2 / size.inputs) ** 0.5, generator=generator)
        network.get_parameter("fc10.weight").mul_(0.03)  # so that probabilities are neither all alike nor all 0 and 1
    save_file({name: x.contiguous() for name, x in network.state_dict().items()}, folder / "w.safetensors")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> EvaluationResult:
    network = load_network(folder / "w.safetensors", recipe=str(folder / "recipe.toml"), shards=folder)
    return evaluate(network, folder, views=["center", "nine", "ten"], batch_size=40)


def read_split(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    images, labels, keys = [], [], []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                if member.name.endswith(".png"):
                    images.append(np.asarray(Image.open(io.BytesIO(content.read())).convert("RGB")))
                    keys.append(member.name.removesuffix(".png"))
                elif member.name.endswith(".cls"):
                    labels.append(int(content.read()))
    return np.stack(images), np.array(labels), keys


def plain_network(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """The 13 % CIFAR-10 net of ALEXNET's table, out of torch's functions."""

    def local(x: Tensor, name: str) -> Tensor:
        padded, rows = F.pad(x, (1, 1, 1, 1)), []
        weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        for i in range(6):
            for j in range(6):
                patch = padded[:, :, i : i + 3, j : j + 3].flatten(1)
                rows.append(patch @ weight[:, :, i, j].T + bias[:, i, j])
        return torch.stack(rows, 2).view(len(x), -1, 6, 6).relu()

    for name in ("conv1", "conv2"):
        x = F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=2).relu()
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    x = local(local(x, "local3"), "local4")
    return x.flatten(1) @ w["fc10.weight"].T + w["fc10.bias"]


def probabilities_of(
    folder: Path, crop_px: int, network: Callable[[dict[str, Tensor], Tensor], Tensor], kinds: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Probabilities (N, classes) of `network(weights, crops)` by kind of views."""
    images, _, _ = read_split(folder / "val")
    mean_HWC = read_split(folder / "train")[0].astype(np.float64).mean(0)
    last = images.shape[1] - crop_px
    middle = last // 2
    mean_HWC = mean_HWC[middle : middle + crop_px, middle : middle + crop_px]
    weights = {name: x.double() for name, x in load_file(folder / "w.safetensors").items()}

    @functools.cache
    def softmax(top: int, left: int, mirror: bool) -> Tensor:
        crop = images[:, top : top + crop_px, left : left + crop_px].astype(np.float64)
        crop = (crop[:, :, ::-1] if mirror else crop) - mean_HWC
        return network(weights, torch.from_numpy(crop.copy()).permute(0, 3, 1, 2)).softmax(1)

    corners = [(0, 0), (0, last), (last, 0), (last, last), (middle, middle)]
    views = {
        "center": [(middle, middle, False)],
        "nine": [(top, left, False) for top in (0, middle, last) for left in (0, middle, last)],
        "ten": [(top, left, mirror) for mirror in (False, True) for top, left in corners],
    }
    return {kind: torch.stack([softmax(*view) for view in views[kind]]).mean(0).numpy() for kind in kinds}


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Probabilities by kind of views."""
    return probabilities_of(folder, CROP, plain_network, ("center", "nine", "ten"))


def test_keys_and_labels_are_those_of_the_tars(folder: Path, result: EvaluationResult) -> None:
    _, labels, keys = read_split(folder / "val")
    assert list(result.keys) == keys and result.labels_N.tolist() == labels.tolist()


@pytest.mark.parametrize("kind", ["center", "nine", "ten"])
def test_probabilities_and_errors_by_every_kind_of_views(
    folder: Path, result: EvaluationResult, expected: dict[str, NDArray[np.float64]], kind: str
) -> None:
    _, labels, _ = read_split(folder / "val")
    found = result.rows[0].probabilities[kind]  # type: ignore[index]
    assert np.abs(found - expected[kind]).max() < 2e-5
    score, classes = result.scores[0][kind], range(NUM_CLASSES)  # type: ignore[index]
    for k, error in ((1, score.top1_error), (5, score.top5_error)):
        right = sklearn_metrics.top_k_accuracy_score(labels, expected[kind], k=k, labels=classes)
        assert 0 < error < 1 and error == pytest.approx(1 - right, abs=1e-12)
    assert score.loss == pytest.approx(sklearn_metrics.log_loss(labels, expected[kind], labels=classes), rel=1e-5)


def test_tables_by_class_and_the_calibration_error(
    folder: Path, result: EvaluationResult, expected: dict[str, NDArray[np.float64]]
) -> None:
    _, labels, _ = read_split(folder / "val")
    guesses, classes = expected["ten"].argmax(1), range(NUM_CLASSES)
    assert np.array_equal(result.confusion_CC, sklearn_metrics.confusion_matrix(labels, guesses, labels=classes))
    precision, recall, _, support = sklearn_metrics.precision_recall_fscore_support(
        labels, guesses, labels=classes, zero_division=np.nan
    )
    table = result.per_class()
    assert np.allclose(table["precision"], precision, equal_nan=True)
    assert np.allclose(table["top1_error"], 1 - recall, equal_nan=True)
    assert np.array_equal(table["images"], support)
    confidence = expected["ten"].max(1)
    assert len(np.unique(np.floor(confidence * 15))) > 3  # several bins
    true, mean = calibration.calibration_curve(guesses == labels, confidence, n_bins=15)
    counts = np.histogram(confidence, bins=np.linspace(0, 1, 16))[0]
    error = (np.abs(true - mean) * counts[counts > 0]).sum() / len(labels)
    assert result.calibration.error == pytest.approx(error, abs=1e-5)
    first = result.confusions()
    wrong = sklearn_metrics.confusion_matrix(labels, guesses, labels=classes)
    np.fill_diagonal(wrong, 0)
    assert first["images"][0] == wrong.max() and first["images"].sum() == wrong.sum()


def test_an_evaluation_may_run_twice(folder: Path) -> None:
    from alexkit.model import Evaluation

    network = load_network(folder / "w.safetensors", recipe=str(folder / "recipe.toml"), shards=folder)
    evaluation = Evaluation([network, network], folder, views=["center"])
    first, second = (evaluation.run().metrics()["rows"] for _ in range(2))
    assert first == second and first[2]["center"]["loss"] == pytest.approx(first[0]["center"]["loss"], rel=1e-6)
