"""A network over a loader's batches: probabilities of every view, and the activations of a hidden layer."""

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
    """Every batch with the probabilities of its images, float32 (B, classes): the mean over their views.

    Rows that are padding (`batch.mask` False) have probabilities too; leave them out.
    """
    network.eval()
    for batch in loader:
        yield batch, view_probabilities(network, batch, precision).mean(1)


def view_probabilities(network: nn.Module, batch: Batch, precision: torch.dtype) -> Tensor:
    """Softmax outputs of one batch by a network in eval mode, float32 (B, views, classes).

    Args:
        network: takes float images (N, 3, H, W), gives logits (N, classes).
        batch: images of (B, 3, H, W) or (B, views, 3, H, W).
        precision: the dtype that convolutions and products run in; probabilities are computed in float32.
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

    They are what the next layer reads: after activation, pooling and dropout's scaling, flattened; of several views the
    mean. Arrays above 256 MB live in an unnamed temporary file that is mapped, so that memory stays free.

    Args:
        network: a `TrainedNetwork` or a `Network`.
        loader: a loader with an evaluation augmentation, e.g. `CenterCrop`.
        layer: a layer's name, e.g. "conv5" or "fc7"; None for the last hidden one.
        precision: the dtype that convolutions and products run in.
        dtype: of the result; float16 is clipped to its range.

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
    """Put one batch's activations where its images' indices say; padding is left out."""
    indices = batch.indices[batch.mask].cpu().numpy()
    limit = FLOAT16_MAX if features_ND.dtype == np.float16 else None
    values = units_BD[batch.mask].float()
    features_ND[indices] = (values if limit is None else values.clamp(-limit, limit)).cpu().numpy()


@contextmanager
def captured(network: nn.Module, layer: str | None) -> Iterator[list[Tensor]]:
    """While open, every pass appends what the layer after `layer` reads, float (N, units)."""
    inner = network if isinstance(network, Network) else getattr(network, "network", None)
    if not isinstance(inner, Network):
        raise InputError(f"features are read from a TrainedNetwork or a Network, got {type(network).__name__}")
    names = [size.name for size in inner.sizes]
    layer = layer or names[-2]
    if layer not in names[:-1]:
        raise InputError(f"layer {layer!r}: this network has the hidden layers {', '.join(names[:-1])}")
    seen: list[Tensor] = []
    reader = inner.get_submodule(names[names.index(layer) + 1])
    handle = reader.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten(1)))
    try:
        yield seen
    finally:
        handle.remove()


def large_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros; above 256 MB in a mapped temporary file without a name, which the disk holds where memory is short.

    Raises OSError naming the folder of temporary files where it has no room.
    """
    num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if num_bytes <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, num_bytes)  # a disk that fills up later ends the process by SIGBUS
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None
        return np.memmap(file, dtype, "r+", shape=shape)
