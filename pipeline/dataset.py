"""Datasets of torch: stored samples one by one, and a loader inside a `DataLoader` for projects that insist on one.

Hugging Face's Trainer resumes by accelerate's `skip_first_batches`, which makes a `DataLoader` of a loader's `dataset`
and of its `batch_sampler` without the first items. These items are numbers of batches here, so that what is skipped is
never decoded.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from ..errors import InputError
from .batch import Batch
from .remote import StoredImages
from .storage import Samples


class Batches(Protocol):
    """What is asked of a `Loader` here, which itself imports this module."""

    @property
    def epoch(self) -> int:
        """The epoch in which it stands."""

    def __len__(self) -> int:
        """Batches of an epoch."""

    def __iter__(self) -> Iterator[Batch]:
        """Batches from where it stands."""

    def _batch(self, epoch: int, number: int) -> Batch:
        """One batch, after which it stands."""

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Where it stands."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where it stood."""


class StoredSample(NamedTuple):
    """One stored sample, decoded as it is."""

    image: Image.Image
    """RGB."""
    label: int
    """Class number."""
    key: str
    """Its name in the tar."""
    where: str
    """Shard, key and offset in words."""


class StoredSamples(Dataset[StoredSample]):
    """Map-style: `loader.dataset[i]` is sample i in stored order, decoded by Pillow. For looking, not for training."""

    def __init__(self, samples: Samples, cache_limit: int | None) -> None:
        self._samples = samples
        sets = zip(samples.shard_sets, samples.indexes, strict=True)
        self._images = [StoredImages(one, index, cache_limit=cache_limit) for one, index in sets]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> StoredSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        index %= len(self)
        samples = self._samples
        number = int(np.searchsorted(samples.first_of_set, index, side="right")) - 1
        pixels = samples.shard_sets[number].manifest.pixels
        content = self._images[number].content(index - int(samples.first_of_set[number]))
        if pixels.format == "raw":
            image = Image.fromarray(np.frombuffer(content, np.uint8).reshape(pixels.size_px, pixels.size_px, 3))
        else:
            image = Image.open(io.BytesIO(content)).convert("RGB")
        (key,) = samples.keys(np.array([index]))
        return StoredSample(image=image, label=int(samples.labels_N[index]), key=key, where=samples.where(index))

    def __getitems__(self, indices: "Sequence[int] | BatchNumber") -> "list[StoredSample] | Batch":
        """What a `DataLoader` asks for: the samples at some indices, or the batch of a number."""
        return indices.batch() if isinstance(indices, BatchNumber) else [self[index] for index in indices]


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchNumber:
    """Stands for a batch of a loader until it is needed."""

    loader: Batches
    epoch: int
    number: int
    """Batches of the epoch before this one."""

    def batch(self) -> Batch:
        """The batch, after which the loader stands."""
        return self.loader._batch(self.epoch, self.number)


class BatchNumbers:
    """The numbers of the batches of the epoch in which a loader stands, always from the first."""

    def __init__(self, loader: Batches) -> None:
        self._loader = loader

    @property
    def sampler(self) -> "BatchNumbers":
        """Itself: Lightning names epochs to a batch sampler's sampler, and to nothing else of a loader."""
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[BatchNumber]:
        epoch = self._loader.epoch
        return (BatchNumber(loader=self._loader, epoch=epoch, number=number) for number in range(len(self)))

    def set_epoch(self, epoch: int) -> None:
        """The loader's."""
        self._loader.set_epoch(epoch)


class LoaderDataset(IterableDataset[Batch]):
    """A loader as an iterable dataset of whole batches, for code that wants a torch `DataLoader`.

    Use `DataLoader(LoaderDataset(loader), batch_size=None)`, without workers: the loader has threads of its own.
    """

    def __init__(self, loader: Batches) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        from torch.utils.data import get_worker_info

        if get_worker_info() is not None:
            raise InputError("a Loader needs no worker processes; use num_workers=0 in the DataLoader")
        return iter(self.loader)

    def state_dict(self) -> dict[str, Any]:
        """The loader's."""
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The loader's."""
        self.loader.load_state_dict(state)

    def set_epoch(self, epoch: int) -> None:
        """The loader's."""
        self.loader.set_epoch(epoch)
