"""Weights from elsewhere: another run's checkpoint, a safetensors file, torchvision's and Caffe's AlexNets.

Names are those of `network`: LAYER.weight, LAYER.bias. Other layouts are converted to networks of our table, input
scale and channel order included, so that our loaders feed them: gray levels 0-255, RGB, less a mean.
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

# torchvision.transforms.Normalize of its models, on pixels of 0-1.
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
    """Whole weights of a run folder's newest checkpoint, of a safetensors file in our layout or torchvision's, or of
    Caffe's AlexNet as a .caffemodel.

    Raises InputError when the path is none of these.
    """
    if (path / CONFIG).exists():
        checkpoint = newest_checkpoint(path / CHECKPOINTS)
        if checkpoint is None:
            raise InputError(f"{path}: no checkpoint yet; train it with 'alextrain' first")
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
            f"training.start_from = {str(path)!r}: a PyTorch pickle, which is never opened here since it can run code; "
            f"convert a file that you trust once: {shlex.join(['python', '-c', save])}"
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
    """torchvision's `alexnet` state as weights of network.kind = "owt".

    The division by 255 and by the standard deviation moves into conv1; subtract 255 * (0.485, 0.456, 0.406), which is
    ImageNet's mean color (data.mean = "channel"). Raises InputError for weights of another network.
    """
    converted = _renamed(weights, _TORCHVISION_NAMES, "torchvision's alexnet")
    _require_shape(converted, "conv1.weight", (64, 3, 11, 11), "torchvision's alexnet")
    scale = 255 * torch.tensor(TORCHVISION_STD)
    converted["conv1.weight"] = converted["conv1.weight"] / scale[:, None, None]
    return converted


def from_caffe(blobs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BVLC AlexNet's blobs, named LAYER.weight and LAYER.bias, as weights of `CAFFE_NETWORK`.

    Images that go with them: data.crop = 227, data.mean = "crop", as in the recipe `caffe`. Caffe's images are BGR:
    conv1's channels are reversed. Raises InputError for weights of another network.
    """
    converted = _renamed(blobs, {name: name for name in _CAFFE_LAYERS}, "Caffe's AlexNet")
    _require_shape(converted, "conv1.weight", (96, 3, 11, 11), "Caffe's AlexNet")
    converted["conv1.weight"] = converted["conv1.weight"].flip(1)
    # Old Caffe files have blobs of four dimensions throughout.
    for name in _CAFFE_LAYERS:
        converted[f"{name}.bias"] = converted[f"{name}.bias"].flatten()
        if name.startswith("fc"):
            shape = (1, 1, *converted[f"{name}.weight"].shape[-2:])
            if converted[f"{name}.weight"].ndim > 2:
                _require_shape(converted, f"{name}.weight", shape, "Caffe's AlexNet")
            converted[f"{name}.weight"] = converted[f"{name}.weight"].reshape(shape[2:])
    return converted


def find_start(start_from: str, runs: Path) -> Path:
    """The file or folder that a recipe's `start_from` names: as it stands, or a run in the folder `runs`.

    A folder that is no run does not hide one of the same name there.
    """
    path, beside = Path(start_from), runs / start_from
    is_weights = path.is_file() or (path / CONFIG).exists()
    return beside if not is_weights and (beside / CONFIG).exists() else path


def is_torchvisions(path: Path) -> bool:
    """Whether a file is torchvision's AlexNet, by the names of its tensors."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return "features.0.weight" in file.keys()  # noqa: SIM118
    except SafetensorError:  # `read_weights` says what is wrong with it
        return False


def require_network(path: Path, network: Switches, *, recipe: str | None = None) -> None:
    """Raise InputError when weights of this file, Caffe's or torchvision's, belong to another network than `network`.

    Their layers may have the same shapes all the same, as Caffe's and ours have.

    Args:
        path: the weights.
        network: what they are to be loaded into.
        recipe: the --recipe that is to feed the file; None where training starts from it, and switches can be set.
    """
    if path.suffix == ".caffemodel":
        whose, theirs = "Caffe's", CAFFE_NETWORK
    elif is_torchvisions(path):
        whose, theirs = "torchvision's", TORCHVISION_NETWORK
    else:
        return
    drawn = ("init", "bias")  # how weights start that are replaced
    values = {name: value for name, value in to_data(theirs).items() if name not in drawn}
    needed = {name: value for name, value in values.items() if getattr(theirs, name) != getattr(network, name)}
    if not needed:
        return
    settings = " ".join(f"--set network.{name}={json.dumps(value)}" for name, value in needed.items())
    settings = settings.replace('"', "")
    if recipe is not None:
        raise InputError(
            f"--recipe {recipe}: {path} holds {whose} AlexNet, which is another network than this recipe's (it needs "
            f"{settings.replace('--set ', '')}); leave --recipe out"
        )
    first = "use --recipe caffe, or " if theirs is CAFFE_NETWORK else ""
    raise InputError(
        f"training.start_from = {str(path)!r}: {whose} AlexNet is another network than this recipe's; {first}"
        f"add {settings}"
    )


def for_fine_tuning(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], layers: Sequence[str], source: str
) -> dict[str, Tensor]:
    """`own` weights with those of `layers` replaced by `weights`.

    Args:
        weights: Whole weights by name.
        own: All weights of this network.
        layers: Names of layers; `*` stands for anything.
        source: What `weights` were read from, for messages.

    Raises InputError naming the layer that is missing there or of another shape, or the pattern that matches none.
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
            found = f"shape {tuple(weights[name].shape)}" if name in weights else "nothing"
            raise InputError(
                f"training.start_from = {source!r}: {name} has {found}, this network needs {tuple(mine.shape)}; "
                "choose the same [network] switches"
            )
        result[name] = weights[name]
    return result


def _require_shape(weights: Mapping[str, Tensor], name: str, shape: tuple[int, ...], what: str) -> None:
    if weights[name].shape != shape:
        raise InputError(f"{name} has shape {tuple(weights[name].shape)}, expected {shape}, as {what} has it")


def _renamed(weights: Mapping[str, Tensor], names: Mapping[str, str], what: str) -> dict[str, Tensor]:
    result = {}
    for ours, theirs in names.items():
        for kind in ("weight", "bias"):
            if f"{theirs}.{kind}" not in weights:
                raise InputError(f"no {theirs}.{kind} among these weights; expected the layout of {what}")
            result[f"{ours}.{kind}"] = weights[f"{theirs}.{kind}"].float()
    return result
