"""Every disputed detail of the networks by name: the keys of a recipe's [network]."""

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from .wiring import ActivationKind, NormScope

# Recipes, states and switches check themselves alike: no unknown key, no text for a number, no NaN.
CHECKED = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

Kind = Literal["two-column", "one-gpu", "tower", "owt", "cifar10-19", "cifar10-18", "cifar10-13", "cifar10-11"]
InputKind = Literal["margin", "valid227", "pad2", "crop24"]
NormKind = Literal["paper", "original", "caffe", "none"]
Initialization = Literal["paper", "original", "caffe", "quick"]
DropoutKind = Literal["mask", "inverted", "off"]


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Switches:
    """Which network; the defaults follow the paper's text. Raises ValueError for a value that is not listed."""

    kind: Kind = "two-column"
    """`two-column`: Figure 2. `one-gpu`: the half network of the ablation. `tower`: both columns as one. `owt`: the
    later network of "One weird trick", torchvision's. `cifar10-…`: the CIFAR-10 networks by their test error."""
    input: InputKind = "margin"
    """`margin`: 224 px and three rows and columns of zeros below and to the right, as released. `valid227`: 227 px.
    `pad2`: 224 px with two zeros on all sides. `crop24`: the CIFAR-10 networks on crops of 24 px."""
    norm: NormKind = "paper"
    """Alpha and k of the response normalization: `paper` 1e-4 and 2, `original` 1e-4/5 and 2, `caffe` 1e-4/5 and 1.
    `none` removes every normalization, that within a map too."""
    norm_order: Literal["paper", "original"] = "paper"
    """`original`: layer 1 normalizes and pools before its ReLU."""
    norm_scope: NormScope = "column"
    """`column`: windows end at the border of a column, as in the released code. `all`: the paper's N read literally,
    "the total number of kernels in the layer"; Caffe does so too."""
    map_norm: bool = False
    """A normalization over 5 x 5 px of the same map after the second response normalization: net 145, unpublished."""
    pooling: Literal["3/2", "2/2"] = "3/2"
    """Window and stride: overlapping as in the paper, or not."""
    activation: ActivationKind = "relu"
    """The nonlinearity of all hidden layers."""
    init: Initialization = "paper"
    """Standard deviation of the weights, and the biases that are not 0. `paper`: 0.01; 1. `original`: 0.03 in conv3 to
    conv6; 1. `caffe`: 0.005 in fc6 and fc7; 0.1. `quick`: both, so that the first steps learn at a high rate."""
    bias: Literal["init", "zero"] = "init"
    """`zero`: all biases start at 0 (the ablation of section 5)."""
    dropout: DropoutKind = "mask"
    """`mask`: halved when evaluating, as in the paper; `inverted`: doubled when training; `off`."""
    sixth_conv: bool = False
    """A sixth convolution over the last pooling layer (section 6)."""
    linear_1024: bool = False
    """A layer of 1024 units a column without nonlinearity before the output, as in the released net for Fall 2011."""
    without: tuple[str, ...] = ()
    """Layers to remove. What normalizes and pools after them stays, after the layer before; without the first layer the
    second one reads the image, with the first one's stride."""
