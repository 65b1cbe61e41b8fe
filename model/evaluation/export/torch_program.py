"""Export a trained network as a torch program; `torch.export.load(FILE).module()` runs it without alexkit."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ....prep.format.files import whole_file
from ...network.norm import plain_decompositions
from ..trained import TrainedNetwork


class FromPixels(nn.Module):
    """The module that is exported: pixels 0-255 to logits and probabilities, with the mean subtracted inside."""

    mean_CHW: Tensor

    def __init__(self, network: TrainedNetwork) -> None:
        super().__init__()
        self.network = network.network
        self.register_buffer("mean_CHW", torch.from_numpy(network.mean_CHW()).to(network.device))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits and probabilities, float32 (N, classes), of float32 pixels (N, 3, crop, crop), RGB, 0-255."""
        logits: Tensor = self.network(images - self.mean_CHW)
        return logits, logits.softmax(1)


def write_torch_program(path: Path, network: TrainedNetwork) -> None:
    """Write the network as a torch.export program for any number of images, using only torch's own operators."""
    crop = network.recipe.data.crop
    images = torch.zeros(2, 3, crop, crop, device=network.device)
    batch = torch.export.Dim("images", min=1)
    with torch.no_grad():
        program = torch.export.export(FromPixels(network).eval(), (images,), dynamic_shapes={"images": {0: batch}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # between torch's own modules
        program = program.run_decompositions(plain_decompositions())
        with whole_file(path) as file:
            torch.export.save(program, file)
