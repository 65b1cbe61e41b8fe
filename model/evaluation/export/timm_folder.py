"""Export a trained network as a folder for timm: `timm.create_model("local-dir:FOLDER", pretrained=True)`.

timm has no two-column AlexNet, so the folder also holds the architecture, as a file to import first. Using it needs
only torch and timm.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....errors import InputError
from ....extras import explained_imports
from ....prep.format.files import whole_file
from ...network.wiring import (
    Activation,
    Conv,
    Dropout,
    LocallyConnected,
    MapNorm,
    Norm,
    Operation,
    Pool,
    Wiring,
    sizes,
)
from ..trained import TrainedNetwork

ARCHITECTURE = Path(__file__).with_name("timm_model.py")
MODULE = "alexkit_timm"
INTERPOLATION = {"area": "box"}  # filters that have another name in timm


def write_timm_folder(folder: Path, network: TrainedNetwork) -> None:
    """Write `config.json`, `model.safetensors` and `alexkit_timm.py` into `folder`, which is created if necessary.

    Raises InputError if the preparation of the run's images or their mean is unknown, and ImportError without timm,
    which `run_timm` needs for the comparison.
    """
    from safetensors.torch import save

    with explained_imports():
        import timm

        del timm
    if network.pixels is None:
        raise InputError(f"{network.name}: the preparation of its training images is unknown; name them with --shards")
    tensors = {name: x.detach().cpu().contiguous() for name, x in network.network.state_dict().items()}
    tensors["mean"] = torch.from_numpy(network.mean_CHW())
    config = timm_config(network)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("model.safetensors", save(tensors, metadata={"format": "pt"})),
        (f"{MODULE}.py", ARCHITECTURE.read_bytes()),
        ("config.json", json.dumps(config, indent=1).encode() + b"\n"),
    ):
        with whole_file(folder / name) as file:
            file.write(content)


def timm_config(network: TrainedNetwork) -> dict[str, Any]:
    """The content of timm's `config.json`: architecture, classes, and how its transforms prepare an image."""
    wiring, crop = network.network.wiring, network.recipe.data.crop
    layers = layer_entries(wiring, network.num_classes)
    pixels = network.pixels
    assert pixels is not None
    classes = network.classes or ()
    return {
        "architecture": "alexkit_alexnet",
        "num_classes": network.num_classes,
        "num_features": layers[-1]["inputs"],
        "label_names": [entry.id for entry in classes] or network.class_names,
        "label_descriptions": {entry.id: entry.name for entry in classes},
        "model_args": {
            "layers": layers,
            "columns": wiring.columns,
            "input_px": wiring.input_px,
            "margin_px": wiring.margin_px,
        },
        "pretrained_cfg": {
            "input_size": [3, crop, crop],
            "fixed_input_size": True,
            "interpolation": INTERPOLATION.get(pixels.filter, pixels.filter),
            "crop_pct": crop / pixels.size_px,
            "crop_mode": "center",
            "mean": [0.0, 0.0, 0.0],
            "std": [1 / 255] * 3,  # scales pixels back to 0-255, as the network expects
            "num_classes": network.num_classes,
            "pool_size": None,
            "first_conv": layers[0]["name"],
            "classifier": layers[-1]["name"],
        },
    }


def layer_entries(wiring: Wiring, num_classes: int) -> list[dict[str, Any]]:
    """The wiring table as plain JSON data, with the sizes needed to build the modules."""
    entries = []
    maps = 3
    for layer, size in zip(wiring.layers, sizes(wiring, num_classes), strict=True):
        entry: dict[str, Any] = {"kind": type(layer).__name__, "name": layer.name, "inputs": size.inputs}
        match layer:
            case Conv():
                groups = wiring.columns if layer.reads == "own column" else 1
                entry |= {"maps": maps, "filters": layer.filters, "kernel": layer.kernel, "stride": layer.stride}
                entry |= {"pad": layer.pad, "groups": groups}
            case LocallyConnected():
                entry |= {"maps": size.inputs // layer.kernel**2, "filters": layer.filters, "kernel": layer.kernel}
                entry |= {"pad": layer.pad, "px": size.px}
            case _:
                entry |= {"units": size.maps}
        entries.append(entry | {"then": [_operation(operation) for operation in layer.then]})
        maps = size.maps
    return entries


def _operation(operation: Operation) -> dict[str, Any]:
    match operation:
        case Activation():
            found: dict[str, Any] = {"function": operation.kind}
        case Norm():
            found = {name: getattr(operation, name) for name in ("size", "alpha", "beta", "k", "scope")}
        case MapNorm():
            found = {name: getattr(operation, name) for name in ("size", "alpha", "beta")}
        case Pool():
            found = {"pooling": operation.kind, "size": operation.size, "stride": operation.stride}
        case Dropout():
            found = {"scaling": operation.kind, "rate": operation.rate}
    return {"kind": type(operation).__name__, **found}


def run_timm(folder: Path, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute probabilities with timm's model from this folder, normalizing pixels as its transforms do."""
    with explained_imports():
        import timm
    if MODULE not in sys.modules:
        spec = importlib.util.spec_from_file_location(MODULE, folder / f"{MODULE}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[MODULE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[MODULE])
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    about = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(about[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        result: NDArray[np.float32] = model((torch.from_numpy(pixels) / 255 - mean) / std).softmax(1).numpy()
    return result
