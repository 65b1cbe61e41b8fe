"""torch datasets: stored samples one by one, and a loader wrapped for projects that require a torch `DataLoader`.

Hugging Face's Trainer resumes with accelerate's `skip_first_batches`, which builds a `DataLoader` from a loader's
`dataset` and its `batch_sampler` without the first items. Here these items are batch numbers, so skipped batches are
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


class Batches(Protocol):
    """The part of `Loader` that this module uses; `Loader` itself imports this module."""

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""

    def __len__(self) -> int:
        """Batches per epoch."""

    def __iter__(self) -> Iterator[Batch]:
        """Batches from its position."""

    def _batch(self, epoch: int, number: int) -> Batch:
        """One batch; the loader then continues after it."""

    def set_epoch(self, epoch: int) -> None:
        """Move to the start of an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Its position."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Move to a saved position."""


class StoredSample(NamedTuple):
    """One stored sample, decoded without augmentation."""

    image: Image.Image
    """RGB."""
    label: int
    """Class number."""
    key: str
    """Its name in the tar."""
    where: str
    """Shard, key and offset, as text for messages."""


class StoredSamples(Dataset[StoredSample]):
    """A map-style dataset: `loader.dataset[i]` is sample i in stored order, decoded by Pillow. Not for training.

    Worker processes of a `DataLoader` may read it, whether they were forked or spawned.
    """

    def __init__(self, sets: Sequence[StoredImages]) -> None:
        self._sets = sets
        self._first_of_set = np.cumsum([0, *(len(one.index) for one in sets)])

    def __len__(self) -> int:
        return int(self._first_of_set[-1])

    def __getitem__(self, index: int) -> StoredSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample index {index} is out of range; the dataset has {len(self)} samples")
        index %= len(self)
        number = int(np.searchsorted(self._first_of_set, index, side="right")) - 1
        images, row = self._sets[number], index - int(self._first_of_set[number])
        content, pixels = images.content(row), images.shard_set.manifest.pixels
        if pixels.format == "raw":
            image = Image.fromarray(np.frombuffer(content, np.uint8).reshape(pixels.size_px, pixels.size_px, 3))
        else:
            image = Image.open(io.BytesIO(content)).convert("RGB")
        label, key = int(images.index.labels_N[row]), images.index.key(row)
        return StoredSample(image=image, label=label, key=key, where=images.where(row))

    def __getitems__(self, indices: "Sequence[int] | BatchNumber") -> "list[StoredSample] | Batch":
        """Called by `DataLoader`: the samples at these indices, or the batch with this number."""
        return indices.batch() if isinstance(indices, BatchNumber) else [self[index] for index in indices]


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchNumber:
    """A loader's batch by number, loaded when it is needed."""

    loader: Batches
    epoch: int
    number: int
    """Number of batches before it in the epoch."""

    def batch(self) -> Batch:
        """Load the batch; the loader then continues after it."""
        return self.loader._batch(self.epoch, self.number)


class BatchNumbers:
    """The numbers of all batches of a loader's current epoch, starting with the first."""

    def __init__(self, loader: Batches) -> None:
        self._loader = loader

    @property
    def sampler(self) -> "BatchNumbers":
        """Itself, because Lightning calls `set_epoch` on the sampler of a batch sampler."""
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[BatchNumber]:
        epoch = self._loader.epoch
        return (BatchNumber(loader=self._loader, epoch=epoch, number=number) for number in range(len(self)))

    def set_epoch(self, epoch: int) -> None:
        """Call the loader's `set_epoch`."""
        self._loader.set_epoch(epoch)


class LoaderDataset(IterableDataset[Batch]):
    """A loader as an iterable dataset of whole batches, for code that requires a torch `DataLoader`.

    Use `DataLoader(LoaderDataset(loader), batch_size=None)` without workers: the loader has its own threads.
    """

    def __init__(self, loader: Batches) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        from torch.utils.data import get_worker_info

        if get_worker_info() is not None:
            raise InputError(
                "LoaderDataset: iterated in a worker process, but the loader has its own threads; set num_workers=0 in "
                "the DataLoader"
            )
        return iter(self.loader)

    def state_dict(self, *_: Any) -> dict[str, Any]:
        """The loader's state. Composer passes how many samples of the epoch were trained on; the loader knows."""
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Call the loader's `load_state_dict`."""
        self.loader.load_state_dict(state)

    def set_epoch(self, epoch: int) -> None:
        """Call the loader's `set_epoch`."""
        self.loader.set_epoch(epoch)
