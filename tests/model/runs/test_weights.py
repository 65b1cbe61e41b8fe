import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from alexkit.model.network.network import Network
from alexkit.model.network.switches import Switches
from alexkit.model.network.tables import wiring
from alexkit.model.processes.layout import Layout
from alexkit.model.runs.load import load_recipe
from alexkit.model.runs.weights import (
    CAFFE_NETWORK,
    TORCHVISION_STD,
    find_start,
    for_fine_tuning,
    from_caffe,
    from_torchvision,
    read_weights,
    require_network,
)
from alexkit.model.training.learner import Learner

NUM_CLASSES = 7
MEAN = torch.tensor([0.485, 0.456, 0.406])


class TorchvisionLayout(nn.Module):
    """The module names of torchvision's AlexNet, written from its published structure."""

    def __init__(self) -> None:
        super().__init__()

        def pool() -> nn.Module:
            return nn.MaxPool2d(3, 2)

        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool(), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool()),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), pool()),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
            nn.Linear(4096, NUM_CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return out


def pixels() -> Tensor:
    return torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(0)).float()


def test_torchvisions_weights_give_torchvisions_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = TorchvisionLayout().eval()
    save_file(theirs.state_dict(), tmp_path / "alexnet.safetensors")
    ours = Network(wiring(Switches(kind="owt")), NUM_CLASSES).eval()
    ours.load_state_dict(read_weights(tmp_path / "alexnet.safetensors"))
    normalized = (pixels() / 255 - MEAN[:, None, None]) / torch.tensor(TORCHVISION_STD)[:, None, None]
    expected, found = theirs(normalized), ours(pixels() - 255 * MEAN[:, None, None])
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5)


def bvlc_alexnet(weights: dict[str, Tensor], images_BGR: Tensor) -> Tensor:
    """Probabilities by BVLC AlexNet's published deploy.prototxt, in plain torch; LRN is across all channels."""

    def conv(name: str, x: Tensor, **options: int) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options).relu()

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    norm = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
    x = pool(norm(conv("conv1", images_BGR, stride=4)))
    x = pool(norm(conv("conv2", x, padding=2, groups=2)))
    x = conv("conv4", conv("conv3", x, padding=1), padding=1, groups=2)
    x = pool(conv("conv5", x, padding=1, groups=2)).flatten(1)
    for name in ("fc6", "fc7"):
        x = F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"]).relu()
    return F.linear(x, weights["fc8.weight"], weights["fc8.bias"]).softmax(1)


def test_caffes_network_computes_what_its_prototxt_says() -> None:
    ours = Network(wiring(CAFFE_NETWORK), NUM_CLASSES).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for size in ours.sizes:  # so that activations are as large as a trained network's, and norms matter
            deviation = (2 / size.inputs) ** 0.5 * (0.02 if size.name == "fc8" else 1)
            ours.get_parameter(f"{size.name}.weight").normal_(0, deviation, generator=generator)
    images = torch.randn(2, 3, 227, 227, generator=generator) * 60
    blobs = {name: x.detach().clone() for name, x in ours.state_dict().items()}
    blobs["conv1.weight"] = blobs["conv1.weight"].flip(1)
    ours.load_state_dict(from_caffe(blobs))
    with torch.no_grad():
        expected = bvlc_alexnet(blobs, images.flip(1))
        assert (ours(images).softmax(1) - expected).abs().max() < 1e-5
        other = Network(wiring(replace(CAFFE_NETWORK, norm_scope="column")), NUM_CLASSES).eval()
        other.load_state_dict(ours.state_dict())
        assert (other(images).softmax(1) - expected).abs().max() > 1e-3


def test_caffes_weights_are_refused_by_another_network_with_what_to_set(tmp_path: Path) -> None:
    words = r"use --recipe caffe, or add --set network.norm_scope=all"
    with pytest.raises(ValueError, match=words):
        require_network(tmp_path / "a.caffemodel", replace(CAFFE_NETWORK, norm_scope="column"))
    require_network(tmp_path / "a.caffemodel", load_recipe("caffe").network)
    without = replace(CAFFE_NETWORK, without=("fc7",))  # fc8 has the same shape then
    with pytest.raises(ValueError, match=r"add --set network\.without=\[\]$"):
        require_network(tmp_path / "a.caffemodel", without)
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    require_network(tmp_path / "a.safetensors", Switches(kind="owt", init="original"))
    with pytest.raises(
        ValueError, match=r"torchvision's AlexNet is a different network .*; add --set network\.activation=relu$"
    ):
        require_network(tmp_path / "a.safetensors", Switches(kind="owt", activation="tanh"))
    assert load_recipe("caffe").data.crop == 227 and load_recipe("caffe").data.mean == "crop"


def test_a_pickle_is_named_as_such_with_the_line_that_converts_it(tmp_path: Path) -> None:
    for name in ("alexnet.pth", 'Alex\'s "net"', "unnamed"):
        torch.save({"x": torch.zeros(1)}, tmp_path / name)
        with pytest.raises(ValueError, match=r"a PyTorch pickle, which alexkit never opens.*save_file") as error:
            read_weights(tmp_path / name)
        python, option, code = shlex.split(str(error.value).split("convert it: ")[1])
        assert (python, option) == ("python", "-c")
        exec(code)
        assert load_file((tmp_path / name).with_suffix(".safetensors"))["x"].shape == (1,)


def test_a_plain_name_is_also_a_run_beside_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "config.json").write_text("{}")
    assert find_start("first", tmp_path) == tmp_path / "first"
    (tmp_path / "elsewhere/first").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")  # whose folder of that name is no run
    assert find_start("first", tmp_path) == tmp_path / "first"
    assert find_start("other.safetensors", tmp_path) == Path("other.safetensors")


def test_a_pattern_of_layers_that_matches_none_is_refused() -> None:
    weights = learner(3, 1).whole_weights()
    with pytest.raises(ValueError, match=r"start_layers: 'fc6' matches none of conv1, conv2, conv3, fc10"):
        for_fine_tuning(weights, weights, ["conv*", "fc6"], "runs/x")


def test_caffes_weights_read_bgr_and_blobs_of_four_dimensions() -> None:
    ours = Network(wiring(CAFFE_NETWORK), NUM_CLASSES).eval()
    blobs = {name: x.detach().clone() for name, x in ours.state_dict().items()}
    blobs["conv1.weight"] = blobs["conv1.weight"].flip(1)
    for name in ("fc6", "fc7", "fc8"):
        blobs[f"{name}.weight"] = blobs[f"{name}.weight"][None, None]
        blobs[f"{name}.bias"] = blobs[f"{name}.bias"][None, None, None]
    converted = from_caffe(blobs)
    assert all(torch.equal(converted[name], x) for name, x in ours.state_dict().items())


@pytest.mark.parametrize("convert", [from_torchvision, from_caffe])
def test_other_layouts_are_refused(convert: object) -> None:
    with pytest.raises(ValueError, match=r"is missing; expected the weights of"):
        convert({"layer.weight": torch.zeros(1)})  # type: ignore[operator]


def torchvision_blobs(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    """Zeros by torchvision's names; all shapes but those given are of the smallest."""
    layers = [f"features.{number}" for number in (0, 3, 6, 8, 10)] + [f"classifier.{number}" for number in (1, 4, 6)]
    names = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    return {name: torch.zeros(shapes.get(name, (1, 1))) for name in names}


def caffe_blobs(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Zeros by Caffe's names; the shapes not given are of the smallest, but for conv1's."""
    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    names = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    shapes = {"conv1.weight": (96, 3, 11, 11), **shapes}
    return {name: torch.zeros(shapes.get(name, (1, 1))) for name in names}


@pytest.mark.parametrize("shape", [(64, 1, 11, 11), (64, 3, 7, 7), (64, 363)])
def test_torchvisions_first_layer_has_its_shape_or_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    save_file(torchvision_blobs(**{"features.0.weight": shape}), tmp_path / "w.safetensors")
    words = re.escape(f"conv1.weight has shape {shape}, expected (64, 3, 11, 11), as in torchvision's alexnet")
    with pytest.raises(ValueError, match=rf"training.start_from = '.*w.safetensors': {words}"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("fc6.weight", (2, 1, 3, 4), (1, 1, 3, 4)),
        ("fc7.weight", (1, 3, 4), (1, 1, 3, 4)),
        ("fc8.weight", (7, 5, 6, 6), (1, 1, 6, 6)),
        ("conv1.weight", (96, 1, 11, 11), (96, 3, 11, 11)),
        ("conv1.weight", (96,), (96, 3, 11, 11)),
    ],
)
def test_caffes_blobs_have_their_shapes_or_are_refused(
    name: str, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    words = re.escape(f"{name} has shape {shape}, expected {expected}, as in Caffe's AlexNet")
    with pytest.raises(ValueError, match=words):
        from_caffe(caffe_blobs({name: shape}))


def learner(num_classes: int, seed: int, *overrides: str) -> Learner:
    recipe = load_recipe("cifar10-19", [f"training.seed={seed}", *overrides])
    return Learner(recipe, wiring(recipe.network), num_classes, layout=Layout(1), device=torch.device("cpu"))


def test_fine_tuning_copies_all_layers_but_the_last() -> None:
    source, target = learner(10, 0).whole_weights(), learner(3, 1).whole_weights()
    mixed = for_fine_tuning(source, target, ["conv*"], "runs/x")
    for name, tensor in mixed.items():
        assert torch.equal(tensor, (target if name.startswith("fc10") else source)[name])


def test_fine_tuning_from_another_network_is_refused_naming_the_layer() -> None:
    other = Network(wiring(Switches(kind="cifar10-13")), 10)
    with pytest.raises(ValueError, match=r"'runs/x': conv1.weight has shape \(64, 3, 5, 5\), but this network needs"):
        for_fine_tuning(other.state_dict(), learner(3, 1).whole_weights(), ["conv1"], "runs/x")


def test_rates_by_layer_reach_the_update() -> None:
    found = learner(3, 0, "training.rates.conv1=0.1", "training.rates.fc10=10", "training.rates.conv2=0").settings
    assert (found["conv1.weight"].factor, found["conv1.bias"].factor) == (0.1, 0.2)
    assert (found["fc10.weight"].factor, found["conv2.weight"].factor, found["conv3.weight"].factor) == (10, 0, 1)


def test_rates_of_a_layer_that_is_not_there_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"training.rates.fc8: no such layer; this network has conv1, conv2, conv3, fc10"
    ):
        learner(3, 0, "training.rates.fc8=10")


def test_a_group_that_matches_no_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"param_groups: \['fc8.\*'\] matches no parameter; this network has .*conv1"):
        learner(3, 0, "training.param_groups=[{match=['fc8.*'], rates=[[0, 0]]}]")


def test_a_start_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such file or run folder; name a folder that"):
        read_weights(tmp_path / "nothing")
