import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from alexkit.model.network.network import Network
from alexkit.model.network.switches import Switches
from alexkit.model.network.tables import wiring
from alexkit.model.processes.layout import Layout
from alexkit.model.runs.load import load_recipe
from alexkit.model.runs.weights import TORCHVISION_STD, for_fine_tuning, from_caffe, from_torchvision, read_weights
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


def test_caffes_weights_read_bgr_and_blobs_of_four_dimensions() -> None:
    ours = Network(wiring(Switches(input="valid227", norm="caffe", dropout="inverted")), NUM_CLASSES).eval()
    blobs = {name: x.detach().clone() for name, x in ours.state_dict().items()}
    blobs["conv1.weight"] = blobs["conv1.weight"].flip(1)
    for name in ("fc6", "fc7", "fc8"):
        blobs[f"{name}.weight"] = blobs[f"{name}.weight"][None, None]
        blobs[f"{name}.bias"] = blobs[f"{name}.bias"][None, None, None]
    converted = from_caffe(blobs)
    assert all(torch.equal(converted[name], x) for name, x in ours.state_dict().items())


@pytest.mark.parametrize("convert", [from_torchvision, from_caffe])
def test_other_layouts_are_refused(convert: object) -> None:
    with pytest.raises(ValueError, match=r"among these weights; expected the layout of"):
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
    words = re.escape(f"conv1.weight has shape {shape}, torchvision's alexnet has (64, 3, 11, 11) there")
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
    words = re.escape(f"{name} has shape {shape}, Caffe's AlexNet has {expected} there")
    with pytest.raises(ValueError, match=words):
        from_caffe(caffe_blobs({name: shape}))


def learner(num_classes: int, seed: int, *overrides: str) -> Learner:
    recipe = load_recipe("cifar10-19", [f"training.seed={seed}", *overrides])
    return Learner(recipe, wiring(recipe.network), num_classes, layout=Layout(1), device=torch.device("cpu"))


def test_fine_tuning_copies_all_layers_but_the_last() -> None:
    source, target = learner(10, 0).whole_weights(), learner(3, 1).whole_weights()
    mixed = for_fine_tuning(source, target, "fc10", "runs/x")
    for name, tensor in mixed.items():
        assert torch.equal(tensor, (target if name.startswith("fc10") else source)[name])


def test_fine_tuning_from_another_network_is_refused_naming_the_layer() -> None:
    other = Network(wiring(Switches(kind="cifar10-13")), 10)
    with pytest.raises(ValueError, match=r"'runs/x': conv1.weight has shape \(64, 3, 5, 5\), this network needs"):
        for_fine_tuning(other.state_dict(), learner(3, 1).whole_weights(), "fc10", "runs/x")


def test_rates_by_layer_reach_the_update() -> None:
    found = learner(3, 0, "training.rates.conv1=0.1", "training.rates.fc10=10", "training.rates.conv2=0").settings
    assert (found["conv1.weight"].factor, found["conv1.bias"].factor) == (0.1, 0.2)
    assert (found["fc10.weight"].factor, found["conv2.weight"].factor, found["conv3.weight"].factor) == (10, 0, 1)


def test_rates_of_a_layer_that_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"training.rates.fc8: this network has the layers conv1, conv2, conv3, fc10"):
        learner(3, 0, "training.rates.fc8=10")


def test_a_group_that_matches_no_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"param_groups: \['fc8.\*'\] matches no parameter; this network has .*conv1"):
        learner(3, 0, "training.param_groups=[{match=['fc8.*'], rates=[[0, 0]]}]")


def test_a_start_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such run folder, safetensors file or .caffemodel"):
        read_weights(tmp_path / "nothing")
