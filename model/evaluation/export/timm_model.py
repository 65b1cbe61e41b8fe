"""alexkit's AlexNets for timm: import this file, then `timm.create_model("local-dir:FOLDER", pretrained=True)`.

It needs torch and timm, but not alexkit. `config.json` beside it describes the network as a table of layers, and how
timm's transforms prepare an image: as pixels 0-255, from which the network itself subtracts the mean.
"""

from typing import Any

import torch
from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn
from torch.nn import functional as F

Entry = dict[str, Any]
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}


class AlexKitAlexNet(nn.Module):
    """A network built from a table of layers with weights and the operations that follow them.

    Args:
        layers: kind, name and sizes of each layer, and in `then` the operations that follow it.
        columns: number of columns into which the maps are divided.
        input_px: side of the images in px.
        margin_px: rows and columns of zeros to add at the bottom and right of the images.
        num_classes: outputs; 0 for the last hidden layer's activations.
        in_chans: color channels; only 3 is supported.
    """

    mean: Tensor

    def __init__(
        self,
        layers: list[Entry],
        columns: int = 1,
        input_px: int = 224,
        margin_px: int = 0,
        num_classes: int = 1000,
        in_chans: int = 3,
        **unused: Any,
    ) -> None:
        super().__init__()
        if in_chans != 3:
            raise ValueError(f"in_chans is {in_chans}, but this network reads 3 color channels")
        self.layers, self.columns, self.margin_px, self.num_classes = layers, columns, margin_px, num_classes
        self.register_buffer("mean", torch.zeros(3, input_px, input_px))
        for layer in layers[:-1]:
            self.add_module(layer["name"], _weights(layer))
        self.last = layers[-1]["name"]
        self.num_features = self.head_hidden_size = layers[-1]["inputs"]
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.get_submodule(self.last)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer with a new one of `num_classes` outputs, for fine-tuning."""
        self.num_classes = num_classes
        self.add_module(self.last, nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity())

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the input of the last layer, float (N, features), from images (N, 3, px, px) with pixels 0-255."""
        x = F.pad(x - self.mean, (0, self.margin_px, 0, self.margin_px))
        for layer in self.layers[:-1]:
            module = self.get_submodule(layer["name"])
            x = module(x.flatten(1) if layer["kind"] == "Linear" else x)
            for operation in layer["then"]:
                x = self._operation(x, operation)
        return x.flatten(1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Compute logits (N, classes) from the output of `forward_features`."""
        logits: Tensor = x if pre_logits else self.get_classifier()(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, classes) of images (N, 3, px, px) with pixels 0-255."""
        return self.forward_head(self.forward_features(x))

    def _operation(self, x: Tensor, entry: Entry) -> Tensor:
        kind = entry["kind"]
        if kind == "Activation":
            function = entry["function"]
            return x.tanh().abs() if function == "abs-tanh" else ACTIVATIONS[function](x)
        if kind == "Norm":  # torch divides alpha by the window size and does not know columns
            parts = x.chunk(self.columns if entry["scope"] == "column" else 1, dim=1)
            size, alpha = entry["size"], entry["alpha"] * entry["size"]
            return torch.cat([F.local_response_norm(p, size, alpha, entry["beta"], entry["k"]) for p in parts], 1)
        if kind == "MapNorm":
            sums = F.avg_pool2d(x.square(), entry["size"], 1, entry["size"] // 2, divisor_override=1)
            scale: Tensor = 1 + entry["alpha"] * sums
            return x * scale.pow(-entry["beta"])
        if kind == "Pool":
            if entry["pooling"] == "max":
                return F.max_pool2d(x, entry["size"], entry["stride"], ceil_mode=True)
            return F.avg_pool2d(x, entry["size"], entry["stride"], ceil_mode=True, count_include_pad=False)
        if kind == "Dropout":
            if entry["scaling"] == "inverted":
                return F.dropout(x, entry["rate"], self.training)
            rate: float = entry["rate"]
            return x * (torch.rand_like(x) >= rate) if self.training else x * (1 - rate)
        raise ValueError(f"unknown operation {kind}")


class LocallyConnected(nn.Module):
    """Like a convolution of stride 1, with separate weights at every position."""

    def __init__(self, maps: int, filters: int, kernel: int, pad: int, px: int) -> None:
        super().__init__()
        self.kernel, self.pad = kernel, pad
        self.weight = nn.Parameter(torch.zeros(filters, maps * kernel**2, px, px))
        self.bias = nn.Parameter(torch.zeros(filters, px, px))

    def forward(self, x: Tensor) -> Tensor:
        """(N, maps, H, W) to (N, filters, px, px)."""
        windows = F.unfold(x, self.kernel, padding=self.pad).view(len(x), -1, *self.bias.shape[1:])
        return torch.einsum("nihw,fihw->nfhw", windows, self.weight) + self.bias


def _weights(layer: Entry) -> nn.Module:
    if layer["kind"] == "Conv":
        sizes = {"stride": layer["stride"], "padding": layer["pad"], "groups": layer["groups"]}
        return nn.Conv2d(layer["maps"], layer["filters"], layer["kernel"], **sizes)
    if layer["kind"] == "LocallyConnected":
        return LocallyConnected(layer["maps"], layer["filters"], layer["kernel"], layer["pad"], layer["px"])
    return nn.Linear(layer["inputs"], layer["units"])


def alexkit_alexnet(pretrained: bool = False, **kwargs: Any) -> AlexKitAlexNet:
    """Build the network described by the arguments, which are stored in `config.json`."""
    network: AlexKitAlexNet = build_model_with_cfg(AlexKitAlexNet, "alexkit_alexnet", pretrained, **kwargs)
    return network


register_model(alexkit_alexnet)
