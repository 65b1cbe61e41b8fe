"""Check an exported file against its network: the same pixels must give the same probabilities."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ....errors import InputError
from ....extras import explained_imports
from ..trained import TrainedNetwork

NUM_IMAGES = 4
TOLERANCE = 1e-4  # of a probability

Pixels = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How closely an exported file agrees with its network."""

    images: int
    """Images compared."""
    largest: float
    """Largest difference of a probability, 0-1."""


def check_export(path: Path, network: TrainedNetwork, run: Callable[[Path, Pixels], Pixels]) -> Agreement:
    """Compare `run(path, pixels)`, an exported file's probabilities, with the network's own in float32.

    Raises InputError if a probability differs by more than 1e-4; the file is kept for inspection.

    Args:
        path: the exported file.
        network: the network it comes from.
        run: computes probabilities (N, classes) from float32 pixels (N, 3, crop, crop), 0-255.
    """
    crop = network.recipe.data.crop
    pixels = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, crop, crop, 3), np.uint8)
    with torch.no_grad():
        expected = network(network.less_mean(list(pixels))).float().softmax(1).cpu().numpy()
    found = run(path, np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32))
    largest = float(np.abs(found - expected).max())
    if not largest <= TOLERANCE:
        raise InputError(f"{path}: its probabilities differ from the network's by {largest:.3g}; do not use it")
    return Agreement(images=NUM_IMAGES, largest=largest)


def run_onnx(path: Path, pixels: Pixels) -> Pixels:
    """Compute probabilities with onnxruntime."""
    with explained_imports():
        import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"images": pixels})
    result: Pixels = probabilities
    return result


def run_torch_program(path: Path, pixels: Pixels) -> Pixels:
    """Compute probabilities with the file's torch.export program."""
    program = torch.export.load(path).module()
    with torch.no_grad():
        _, probabilities = program(torch.from_numpy(pixels))
    result: Pixels = probabilities.cpu().numpy()
    return result
