"""Load weights from another run's checkpoint, a safetensors file, or torchvision's or Caffe's AlexNet.

Names are those of `network`: LAYER.weight, LAYER.bias. Other layouts are converted, including input scale and channel
order, so that our loaders can feed the network: gray levels 0-255, RGB, minus a mean.
"""

import json
import logging
import shlex
import zipfile
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError
from ..network.caffe import read_caffemodel
from ..network.switches import Switches
from .checked import to_data
from .checkpoint import load_tensors, newest_checkpoint
from .run import CHECKPOINTS, CONFIG, RESULT

log = logging.getLogger(__name__)
Convert = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

# As in torchvision.transforms.Normalize for torchvision's models, on pixels of 0-1.
TORCHVISION_STD = (0.229, 0.224, 0.225)
_TORCHVISION_NAMES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}
# BVLC AlexNet (deploy.prototxt): only its convolutions have groups, so its normalization runs across all maps.
CAFFE_NETWORK = Switches(input="valid227", norm="caffe", norm_scope="all", dropout="inverted")
TORCHVISION_NETWORK = Switches(kind="owt")
_CAFFE_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read unsharded weights from a run folder's newest checkpoint, a safetensors file in our layout or torchvision's,
    or Caffe's AlexNet as a .caffemodel.

    Raises InputError if the path is none of these.
    """
    if (path / CONFIG).exists():
        checkpoint = newest_checkpoint(path / CHECKPOINTS)
        if checkpoint is None:
            raise InputError(f"{path}: this run has no checkpoint yet; train it with 'alextrain' first")
        if not (path / RESULT).exists():
            log.warning(
                "training.start_from = %s: this run is not finished; starting from its checkpoint of step %d",
                path,
                checkpoint.step,
            )
        return checkpoint.weights()
    if not path.is_file():
        raise InputError(
            f"training.start_from = {str(path)!r}: no such file or run folder; name a folder that 'alextrain' wrote, a "
            ".safetensors file or a .caffemodel"
        )
    if path.suffix in (".pth", ".pt", ".ckpt") or zipfile.is_zipfile(path):
        old, new = (json.dumps(str(name), ensure_ascii=False) for name in (path, path.with_suffix(".safetensors")))
        save = "import torch; from safetensors.torch import save_file; "
        save += f"save_file(torch.load({old}, weights_only=True), {new})"
        raise InputError(
            f"training.start_from = {str(path)!r}: a PyTorch pickle, which alexkit never opens since it can run code; "
            f"if you trust the file, convert it: {shlex.join(['python', '-c', save])}"
        )
    if path.suffix == ".caffemodel":
        weights = {name: torch.from_numpy(blob) for name, blob in read_caffemodel(path).items()}
        convert: Convert = from_caffe
    else:
        weights = load_tensors(path)
        if "features.0.weight" not in weights:
            return weights
        convert = from_torchvision
    try:
        return convert(weights)
    except ValueError as error:
        raise InputError(f"training.start_from = {str(path)!r}: {error}") from None


def from_torchvision(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state of torchvision's `alexnet` to weights of network.kind = "owt".

    The division by 255 and by the standard deviation moves into conv1. The mean to subtract from the images is 255 *
    (0.485, 0.456, 0.406), ImageNet's mean color (data.mean = "channel"). Raises InputError for weights of another
    network.
    """
    converted = _renamed(weights, _TORCHVISION_NAMES, "torchvision's alexnet")
    _require_shape(converted, "conv1.weight", (64, 3, 11, 11), "torchvision's alexnet")
    scale = 255 * torch.tensor(TORCHVISION_STD)
    converted["conv1.weight"] = converted["conv1.weight"] / scale[:, None, None]
    return converted


def from_caffe(blobs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert BVLC AlexNet's blobs, named LAYER.weight and LAYER.bias, to weights of `CAFFE_NETWORK`.

    They expect images with data.crop = 227 and data.mean = "crop", as in the recipe `caffe`. Caffe's images are BGR, so
    conv1's channels are reversed. Raises InputError for weights of another network.
    """
    converted = _renamed(blobs, {name: name for name in _CAFFE_LAYERS}, "Caffe's AlexNet")
    _require_shape(converted, "conv1.weight", (96, 3, 11, 11), "Caffe's AlexNet")
    converted["conv1.weight"] = converted["conv1.weight"].flip(1)
    # In old Caffe files all blobs have four dimensions.
    for name in _CAFFE_LAYERS:
        converted[f"{name}.bias"] = converted[f"{name}.bias"].flatten()
        if name.startswith("fc"):
            shape = (1, 1, *converted[f"{name}.weight"].shape[-2:])
            if converted[f"{name}.weight"].ndim > 2:
                _require_shape(converted, f"{name}.weight", shape, "Caffe's AlexNet")
            converted[f"{name}.weight"] = converted[f"{name}.weight"].reshape(shape[2:])
    return converted


def find_start(start_from: str, runs: Path) -> Path:
    """The file or folder that a recipe's `start_from` names: the path itself, or a run in the folder `runs`.

    A folder that is not a run does not hide a run of the same name in `runs`.
    """
    path, beside = Path(start_from), runs / start_from
    is_weights = path.is_file() or (path / CONFIG).exists()
    return beside if not is_weights and (beside / CONFIG).exists() else path


def is_torchvisions(path: Path) -> bool:
    """Whether a file holds torchvision's AlexNet, judged by the names of its tensors."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return "features.0.weight" in file.keys()  # noqa: SIM118
    except SafetensorError:  # `read_weights` reports what is wrong
        return False


def require_network(path: Path, network: Switches, *, recipe: str | None = None) -> None:
    """Raise InputError if the file holds weights of Caffe or torchvision that belong to another network than `network`.

    The shapes alone do not tell: the layers of Caffe's network have the same shapes as ours.

    Args:
        path: the file with the weights.
        network: the network to load them into.
        recipe: the --recipe given to evaluate the file; None when training starts from it, where switches can be set.
    """
    if path.suffix == ".caffemodel":
        whose, theirs = "Caffe's", CAFFE_NETWORK
    elif is_torchvisions(path):
        whose, theirs = "torchvision's", TORCHVISION_NETWORK
    else:
        return
    drawn = ("init", "bias")  # the initialization, which the weights replace
    values = {name: value for name, value in to_data(theirs).items() if name not in drawn}
    needed = {name: value for name, value in values.items() if getattr(theirs, name) != getattr(network, name)}
    if not needed:
        return
    settings = " ".join(f"--set network.{name}={json.dumps(value)}" for name, value in needed.items())
    settings = settings.replace('"', "")
    if recipe is not None:
        raise InputError(
            f"--recipe {recipe}: {path} holds {whose} AlexNet, a different network from this recipe's (it needs "
            f"{settings.replace('--set ', '')}); omit --recipe"
        )
    first = "use --recipe caffe, or " if theirs is CAFFE_NETWORK else ""
    raise InputError(
        f"training.start_from = {str(path)!r}: {whose} AlexNet is a different network from this recipe's; {first}"
        f"add {settings}"
    )


def for_fine_tuning(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], layers: Sequence[str], source: str
) -> dict[str, Tensor]:
    """Replace the weights of `layers` in `own` by those in `weights`.

    Args:
        weights: Unsharded weights by name.
        own: All weights of this network.
        layers: Names of layers; `*` matches anything.
        source: Where `weights` were read from, for messages.

    Raises InputError naming a parameter that is missing from `weights` or has another shape, or a pattern that matches
    no layer.
    """
    names = {name.rpartition(".")[0] for name in own}
    for pattern in layers:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"training.start_layers: {pattern!r} matches none of {', '.join(sorted(names))}")
    result = {}
    for name, mine in own.items():
        if not any(fnmatchcase(name.rpartition(".")[0], pattern) for pattern in layers):
            result[name] = mine
            continue
        if name not in weights or weights[name].shape != mine.shape:
            found = f"has shape {tuple(weights[name].shape)}" if name in weights else "is missing"
            raise InputError(
                f"training.start_from = {source!r}: {name} {found}, but this network needs {tuple(mine.shape)}; "
                "choose the same [network] switches"
            )
        result[name] = weights[name]
    return result


def _require_shape(weights: Mapping[str, Tensor], name: str, shape: tuple[int, ...], what: str) -> None:
    if weights[name].shape != shape:
        raise InputError(f"{name} has shape {tuple(weights[name].shape)}, expected {shape}, as in {what}")


def _renamed(weights: Mapping[str, Tensor], names: Mapping[str, str], what: str) -> dict[str, Tensor]:
    result = {}
    for ours, theirs in names.items():
        for kind in ("weight", "bias"):
            if f"{theirs}.{kind}" not in weights:
                raise InputError(f"{theirs}.{kind} is missing; expected the weights of {what}")
            result[f"{ours}.{kind}"] = weights[f"{theirs}.{kind}"].float()
    return result
