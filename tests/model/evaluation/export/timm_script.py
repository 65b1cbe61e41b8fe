"""Run in a process with timm: compares our networks with timm's model, and exports a run with the command.

PyPI's torchvision, which timm imports, does not load with every build of torch. It loads once its own operators, which
no classifier uses, are declared.
"""

import contextlib
import json
import sys
from pathlib import Path

import torch

LIBRARY = torch.library.Library("torchvision", "DEF")
with contextlib.suppress(RuntimeError):
    for name in ("nms", "qnms"):
        LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm  # noqa: E402
from click.testing import CliRunner  # noqa: E402
from PIL import Image  # noqa: E402

from alexkit.cli.alexeval import alexeval  # noqa: E402
from alexkit.model import Network, Switches, load_network, wiring  # noqa: E402
from alexkit.model.evaluation.export.timm_folder import layer_entries  # noqa: E402

NETWORKS = (
    Switches(),
    Switches(norm="original", norm_order="original", map_norm=True),
    Switches(norm="caffe", input="valid227", dropout="inverted"),
    Switches(norm_scope="all", input="pad2", sixth_conv=True),
    Switches(pooling="2/2", activation="abs-tanh", norm="none", dropout="off"),
    Switches(kind="one-gpu", without=("conv4", "fc7")),
    Switches(kind="owt"),
    Switches(kind="cifar10-19", activation="sigmoid", input="crop24"),
    Switches(kind="cifar10-18"),
    Switches(kind="cifar10-13"),
    Switches(kind="cifar10-11"),
)


def of_a_run(weights: Path, recipe: Path, shards: Path, picture: Path, folder: Path) -> dict[str, object]:
    """The command's output, and the picture's probabilities from timm with its own transforms and from alexkit."""
    words = ["export", weights, "--recipe", recipe, "--shards", shards, "--timm", folder]
    said = CliRunner().invoke(alexeval, [str(word) for word in words])
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.no_grad(), Image.open(picture) as image:
        found = model(transform(image.convert("RGB"))[None]).softmax(1)[0].tolist()
    tuned = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=3)
    own = load_network(weights, recipe=str(recipe), shards=shards).predict([picture])[0].tolist()
    same = bool((tuned.conv1.weight == model.conv1.weight).all())
    return {
        "said": said.output,
        "timm": found,
        "own": own,
        "tuned": list(tuned(torch.zeros(1, 3, 24, 24)).shape),
        "same": same,
    }


def largest_difference(switches: Switches) -> float:
    """Largest difference between the logits of timm's model and ours, relative to the largest logit."""
    table = wiring(switches)
    own = Network(table, 7).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for size in own.sizes:
            own.get_parameter(f"{size.name}.weight").normal_(0, (2 / size.inputs) ** 0.5, generator=generator)
            own.get_parameter(f"{size.name}.bias").normal_(0, 1, generator=generator)
        if switches.activation != "relu":
            own.get_parameter(f"{own.sizes[0].name}.weight").div_(100)  # gray levels would saturate the others
    mean = torch.rand(3, table.input_px, table.input_px, generator=generator) * 200
    arguments = {"columns": table.columns, "input_px": table.input_px, "margin_px": table.margin_px}
    model = timm.create_model("alexkit_alexnet", layers=layer_entries(table, 7), num_classes=7, **arguments).eval()
    model.load_state_dict({**own.state_dict(), "mean": mean})
    pixels = torch.randint(0, 256, (2, 3, table.input_px, table.input_px), generator=generator).float()
    with torch.no_grad():
        expected, found = own(pixels - mean), model(pixels)
    assert expected.std() > 0.01
    return float((found - expected).abs().max() / expected.abs().max())


def main(out: str, *paths: str) -> None:
    torch.set_num_threads(1)
    run = of_a_run(*map(Path, paths))  # registers the architecture
    differences = {str(switches): largest_difference(switches) for switches in NETWORKS}
    Path(out).write_text(json.dumps({"run": run, "differences": differences}))


if __name__ == "__main__":
    main(*sys.argv[1:])
