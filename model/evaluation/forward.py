"""Run a network over a loader's batches: probabilities of every view, and activations of a hidden layer."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn

from ...errors import InputError
from ...pipeline import Batch, Loader
from ..network.network import Network

IN_MEMORY_BYTES = 2**28
FLOAT16_MAX = float(np.finfo(np.float16).max)


@torch.no_grad()
def predict(
    network: nn.Module, loader: Loader, precision: torch.dtype = torch.float32
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield every batch with its images' probabilities, float32 (B, classes), averaged over views.

    Padding rows (`batch.mask` False) have probabilities too; ignore them.
    """
    network.eval()
    for batch in loader:
        yield batch, view_probabilities(network, batch, precision).mean(1)


def view_probabilities(network: nn.Module, batch: Batch, precision: torch.dtype) -> Tensor:
    """Softmax outputs of a network in eval mode for one batch, float32 (B, views, classes).

    Args:
        network: maps float images (N, 3, H, W) to logits (N, classes).
        batch: images (B, 3, H, W) or (B, views, 3, H, W).
        precision: the dtype of convolutions and matrix products; probabilities are computed in float32.
    """
    images = batch.images.flatten(0, 1) if batch.images.ndim == 5 else batch.images
    with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
        logits = network(images.contiguous(memory_format=torch.channels_last))
    probabilities: Tensor = logits.float().softmax(1)
    return probabilities.view(len(batch.labels), -1, probabilities.shape[1])


def features(
    network: nn.Module,
    loader: Loader,
    layer: str | None = None,
    *,
    precision: torch.dtype = torch.float32,
    dtype: DTypeLike = np.float16,
) -> NDArray[np.floating]:
    """Activations of a hidden layer for every image of an evaluation loader, (num_samples, units), by image index.

    They are the input of the next layer, flattened: after activation, pooling and the scaling of dropout. Several views
    are averaged. Arrays above 256 MB are memory-mapped from an unnamed temporary file.

    Args:
        network: a `TrainedNetwork` or a `Network`.
        loader: a loader with an evaluation augmentation, e.g. `CenterCrop`.
        layer: a layer's name, e.g. "conv5" or "fc7"; None for the last hidden layer.
        precision: the dtype of convolutions and matrix products.
        dtype: the dtype of the result; values are clipped to the range of float16.

    Raises InputError for an unknown layer and for the last one, whose outputs are the classes.
    """
    network.eval()
    result: NDArray[np.floating] | None = None
    with torch.no_grad(), captured(network, layer) as seen:
        for batch in loader:
            num_views = view_probabilities(network, batch, precision).shape[1]
            units_BD = seen.pop().view(len(batch.labels), num_views, -1).mean(1)
            if result is None:
                result = large_array((loader.num_samples, units_BD.shape[1]), dtype)
            store_features(result, batch, units_BD)
    assert result is not None
    return result


def store_features(features_ND: NDArray[np.floating], batch: Batch, units_BD: Tensor) -> None:
    """Store one batch's activations at the indices of its images; padding is left out."""
    indices = batch.indices[batch.mask].cpu().numpy()
    limit = FLOAT16_MAX if features_ND.dtype == np.float16 else None
    values = units_BD[batch.mask].float()
    features_ND[indices] = (values if limit is None else values.clamp(-limit, limit)).cpu().numpy()


@contextmanager
def captured(network: nn.Module, layer: str | None) -> Iterator[list[Tensor]]:
    """While active, every forward pass appends the input of the layer after `layer`, float (N, units), to the list."""
    inner = network if isinstance(network, Network) else getattr(network, "network", None)
    if not isinstance(inner, Network):
        raise InputError(f"features need a TrainedNetwork or a Network, got {type(network).__name__}")
    names = [size.name for size in inner.sizes]
    layer = layer or names[-2]
    if layer not in names[:-1]:
        raise InputError(f"layer {layer!r}: not a hidden layer of this network; choose from {', '.join(names[:-1])}")
    seen: list[Tensor] = []
    reader = inner.get_submodule(names[names.index(layer) + 1])
    handle = reader.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten(1)))
    try:
        yield seen
    finally:
        handle.remove()


def large_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros; above 256 MB it is memory-mapped from an unnamed temporary file.

    Raises OSError naming the folder of temporary files if it is full.
    """
    num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if num_bytes <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(
                file.fileno(), 0, num_bytes
            )  # a disk that fills up later would kill the process with SIGBUS
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None
        return np.memmap(file, dtype, "r+", shape=shape)
