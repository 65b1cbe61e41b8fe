"""Individual images as a network's input: files, folders, URLs and standard input, streamed in batches."""

import re
import sys
import urllib.request
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cores import num_cores
from ...errors import InputError
from ...prep.sources.litter import is_hidden, is_other_name
from .forward import captured
from .trained import TrainedNetwork

MAX_DOWNLOAD_BYTES = 2**28
TIMEOUT_S = 30.0
BATCHES_AHEAD = 2
_URL = re.compile("https?:", re.IGNORECASE)  # whether it is valid shows when it is read


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageAnswer:
    """A network's prediction for one image."""

    name: str
    """The path or URL as given by the user, or as found in a folder."""
    probabilities_C: NDArray[np.float32] | None
    """Softmax outputs; None if the image could not be read."""
    features_D: NDArray[np.float32] | None
    """Activations of the last hidden layer; None if they were not requested or the image could not be read."""
    crop_HWC: NDArray[np.uint8] | None = None
    """The network's view of the image, uint8 (crop, crop, 3); None if the image could not be read."""
    error: str | None = None
    """Why the image could not be read, in one line."""


def find_images(words: Iterable[str]) -> list[str]:
    """Find images by path, in the order given; a folder stands for all image files in and below it, sorted.

    As in preparation, every file is taken for an image unless it is hidden or its name shows that it is something else.
    "-" (standard input) and http(s) URLs are kept as they are. Raises InputError for a path that does not exist and for
    a folder without images.
    """
    found: list[str] = []
    for word in words:
        path = Path(word)
        if word == "-" or _URL.match(word):
            found.append(word)
        elif path.is_dir():
            inner = sorted(str(p) for p in path.rglob("*") if _may_be_image(p, path))
            if not inner:
                raise InputError(f"{word}: this folder has no images; expected files such as .jpg or .png")
            found += inner
        elif path.is_file():
            found.append(word)
        else:
            raise InputError(f"{word}: no such file or folder; name images, folders of images, http URLs, or -")
    return found


def _may_be_image(path: Path, folder: Path) -> bool:
    if is_hidden(path.relative_to(folder).as_posix()) or is_other_name(path.name):
        return False
    return path.is_file() or not path.exists()  # a link to nothing is named when it is read


def read_image(word: str) -> bytes:
    """Read the encoded bytes of one image returned by `find_images`. Raises OSError or InputError."""
    if word == "-":
        return sys.stdin.buffer.read(MAX_DOWNLOAD_BYTES)
    if _URL.match(word):
        try:
            request = urllib.request.Request(word, headers={"User-Agent": "alexkit"})
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                content: bytes = answer.read(MAX_DOWNLOAD_BYTES + 1)
        except ValueError as error:  # not a URL, or an impossible host name
            raise InputError(f"not a valid URL ({error})") from None
        except HTTPException as error:  # also for a space in the URL, and for a response that is truncated or not HTTP
            raise InputError(f"{type(error).__name__}: {error}") from None
        if len(content) > MAX_DOWNLOAD_BYTES:
            raise InputError(f"larger than {MAX_DOWNLOAD_BYTES} bytes, so it is not taken for an image")
        return content
    return Path(word).read_bytes()


def answer_images(
    network: TrainedNetwork, words: Sequence[str], *, batch_size: int = 64, with_features: bool = False
) -> Iterator[ImageAnswer]:
    """Yield one answer per image, in order; for an image that cannot be read, the answer holds an error.

    Images are read and prepared by one thread per core, a few batches ahead of the network.

    Args:
        network: the network.
        words: images as returned by `find_images`.
        batch_size: images per forward pass.
        with_features: whether answers hold the last hidden activations.
    """
    ahead: deque[tuple[str, Future[NDArray[np.uint8]]]] = deque()
    waiting = iter(words)
    with ThreadPoolExecutor(num_cores()) as threads:
        while True:
            while len(ahead) < BATCHES_AHEAD * batch_size and (word := next(waiting, None)) is not None:
                ahead.append((word, threads.submit(lambda one: network.crop(read_image(one)), word)))
            if not ahead:
                return
            batch = [ahead.popleft() for _ in range(min(batch_size, len(ahead)))]
            yield from _answers(network, batch, with_features)


def _answers(
    network: TrainedNetwork, batch: list[tuple[str, Future[NDArray[np.uint8]]]], with_features: bool
) -> Iterator[ImageAnswer]:
    crops: dict[int, NDArray[np.uint8]] = {}
    errors: dict[int, str] = {}
    for place, (_, future) in enumerate(batch):
        try:
            crops[place] = future.result()
        except (InputError, OSError) as error:
            errors[place] = _reason(error)
    probabilities, hidden = _ask(network, list(crops.values())) if crops else (None, None)
    rows = {place: row for row, place in enumerate(crops)}
    for place, (name, _) in enumerate(batch):
        row = rows.get(place)
        yield ImageAnswer(
            name=name,
            probabilities_C=None if row is None or probabilities is None else probabilities[row].numpy(),
            features_D=None if row is None or hidden is None or not with_features else hidden[row].numpy(),
            crop_HWC=crops.get(place),
            error=errors.get(place),
        )


def _reason(error: InputError | OSError) -> str:
    """Why an image cannot be read, without the names of Python exceptions."""
    inner = getattr(error, "reason", None)  # for urllib's errors, whose message is "<urlopen error …>"
    cause = inner if isinstance(inner, OSError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or str(error)


@torch.no_grad()
def _ask(network: TrainedNetwork, crops: list[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    with captured(network, None) as hidden:
        probabilities = network.probabilities(network.less_mean(crops))
    return probabilities.cpu(), hidden[0].float().cpu()
