"""Named switches for every disputed detail of the networks: the keys of a recipe's [network] section."""

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from .wiring import ActivationKind, NormScope

# Recipes, states and switches are checked alike: no unknown keys, no strings for numbers, no NaN.
CHECKED = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

Kind = Literal["two-column", "one-gpu", "tower", "owt", "cifar10-19", "cifar10-18", "cifar10-13", "cifar10-11"]
InputKind = Literal["margin", "valid227", "pad2", "crop24"]
NormKind = Literal["paper", "original", "caffe", "none"]
Initialization = Literal["paper", "original", "caffe", "quick"]
DropoutKind = Literal["mask", "inverted", "off"]


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Switches:
    """The choice of network; the defaults follow the paper's text. Raises ValueError for a value that is not listed."""

    kind: Kind = "two-column"
    """`two-column`: Figure 2. `one-gpu`: the half-size network of the ablation. `tower`: both columns merged into one.
    `owt`: the later network of "One weird trick", as in torchvision. `cifar10-…`: the CIFAR-10 networks, named by their
    test error."""
    input: InputKind = "margin"
    """`margin`: 224 px, padded by three rows and columns of zeros at the bottom and right, as released. `valid227`: 227
    px, no padding. `pad2`: 224 px, padded by two zeros on all sides. `crop24`: the CIFAR-10 networks on crops of 24
    px."""
    norm: NormKind = "paper"
    """Alpha and k of the response normalization: `paper` 1e-4 and 2, `original` 1e-4/5 and 2, `caffe` 1e-4/5 and 1.
    `none` removes all normalization, including that within a map."""
    norm_order: Literal["paper", "original"] = "paper"
    """`original`: layer 1 normalizes and pools before its ReLU."""
    norm_scope: NormScope = "column"
    """`column`: windows end at the border of a column, as in the released code. `all`: windows cross it, as in Caffe
    and in a literal reading of the paper's N, "the total number of kernels in the layer"."""
    map_norm: bool = False
    """Add a normalization over 5 x 5 px of the same map after the second response normalization, as in net 145
    (unpublished)."""
    pooling: Literal["3/2", "2/2"] = "3/2"
    """Window and stride of the pooling: `3/2` overlaps, as in the paper; `2/2` does not."""
    activation: ActivationKind = "relu"
    """The nonlinearity of all hidden layers."""
    init: Initialization = "paper"
    """Standard deviation of the weights; value of the nonzero biases. `paper`: 0.01; 1. `original`: 0.03 in conv3 to
    conv6; 1. `caffe`: 0.005 in fc6 and fc7; 0.1. `quick`: the deviations of both and biases of 0.1, so that the first
    steps learn at a high rate."""
    bias: Literal["init", "zero"] = "init"
    """`zero`: all biases start at 0 (the ablation of section 5)."""
    dropout: DropoutKind = "mask"
    """`mask`: outputs are halved in evaluation, as in the paper. `inverted`: outputs are doubled in training. `off`: no
    dropout."""
    sixth_conv: bool = False
    """Add a sixth convolution over the last pooling layer (section 6)."""
    linear_1024: bool = False
    """Add a layer of 1024 units per column without nonlinearity before the output, as in the released net for Fall
    2011."""
    without: tuple[str, ...] = ()
    """Layers to remove. The normalization and pooling that follow a removed layer are kept, after the previous layer.
    If the first layer is removed, the second one reads the image, with the stride of the first."""
