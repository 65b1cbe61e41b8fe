"""The loader: a shard set in, batches of torch tensors out.

The content of a batch is a pure function of the number of samples consumed (`schedule`, `augment`); backends only
compute it. A loader's state is therefore one integer. Restarts, threads and the number of replicas do not change which
samples make up global batch k, or their pixels.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import SequentialSampler

from ..cores import own_cores
from ..errors import InputError
from ..prep.storage import StoreUrl
from .arguments import choice, extensions, flag, number, whole_number
from .arguments.device import find_decoder_load, find_device
from .arguments.extras import check_extras, check_labels
from .arguments.replicas import find_replica, require_rank
from .augment import Augmentation
from .backends import BackendOptions
from .batch import Batch
from .dataset import BatchNumbers, StoredSamples
from .epochs.order import Order
from .epochs.sampling import Sampling
from .epochs.schedule import Schedule, report_mixing
from .flow import Flow, FlowOptions, OnError
from .loops import Loops
from .mixing import Mix
from .remote import RemoteShards, StoredImages
from .sets import closed_on_error, open_sets, require_shuffled
from .state import identity_of, position_in
from .storage import LEAST_BUDGET, CorruptSamples, Samples
from .targets import Example

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8)


class Loader:
    """Iterates over the batches of a shard set, in any training or evaluation loop.

    With a training augmentation, samples are shuffled and those that do not fill the last global batch are dropped.
    Each `for` loop runs from the loader's position to the end of the epoch: after a `break` or `load_state_dict` it
    yields the rest of that epoch, after a complete epoch the next one. With `CenterCrop` or `TenViews`, every sample
    comes exactly once, in stored order, and the last batch is padded and masked. Each `for` loop is then a full pass,
    even after a `break`; only after `load_state_dict` does the next loop start in the middle.

    A loader serves one loop in one thread of the process that created it. Its pickle holds its arguments and position,
    so it can be passed to processes started with "spawn".

    Args:
        folder: A shard set: the folder of one split, which holds its `manifest.json`, or its URL in an object
            store. Or a list of local folders with the same classes and pixel options, whose samples are concatenated.
        batch_size: Samples per batch on this replica. The global batch size is batch_size * num_replicas.
        augment: The transform of each image: `TrainAugment`, `RandomResizedCrop`, `CenterCrop` or `TenViews`.
        device: "cpu", "cuda" or "cuda:N", or such a `torch.device`. Images are decoded there, and batches are tensors
            on that device.
        seed: 0 to 2**64 - 1. Order and augmentation are functions of (seed, epoch, sample).
        replica: Index of this process's replica: replica r of R takes every R-th row of each global batch. "auto" takes
            rank and world size from `torch.distributed` or torchrun when training, and reads the whole set when
            evaluating. Processes that share one model must pass their replica explicitly. A training loop of an "auto"
            loader that was made before `torch.distributed` was initialized is refused if the rank differs.
        num_replicas: Number of replicas that share a global batch. Required if `replica` is greater than 0.
        order: Order of training samples: "full", a uniform permutation; "window", long reads for slow disks; "shards",
            which needs each shard only once per epoch, for remote sets; or "fixed", the stored order in every epoch, as
            in the code released in 2012 (see `order.py`).
        dtype: float32, float16, bfloat16 or uint8. uint8 batches hold gray levels; they require mean="none",
            std="none", pixel_range="0-255" and jitter="off".
        channels_last: Use torch's channels_last memory format for the images; their shape is still (B, 3, H, W).
        num_threads: Threads for decoding and cropping. None means one per core; processes started by torchrun divide
            the machine's cores among themselves.
        hw_decoder_load: Fraction, 0 to 1, of a batch's JPEGs that the GPU's hardware JPEG decoder decodes (A100, H100
            and similar; DALI's default is 0.65). Ignored for other image formats and on GPUs without that decoder;
            above 0 on a CPU, an error. The hardware rounds differently from the CUDA decoder, and which images it
            decodes depends on the batch, so pixels can differ by a few gray levels between batch sizes. Order and
            random draws stay the same.
        on_error: What to do with a stored image that fails its checksum, which is verified before each use, or does not
            decode. "raise" stops and names the image. "replace" logs it and uses the next intact one in stored order
            instead (masked out in an evaluation); `num_replaced` counts these rows.
        max_replaced: Fraction of the samples that may be corrupt before "replace" stops as well; 10 samples always may.
        operators: A function that adds DALI operators after the built-in ones. It takes and returns a DALI node with
            one finished view, uint8 or float32. If its second parameter has no default, or any parameter after the
            first is named `random`, it also receives a `SeededRandom`, whose numbers are reproducible.
        extras: Extensions of other tar members to read; `Batch.extras` holds their bytes.
        target: A function that makes a sample's target from an `Example`. It is called on the host for each sample;
            `Batch.targets` holds the collated results.
        mix: Mixup and cutmix of training batches, on their device. `Batch.labels` then holds class probabilities.
        sampling: Which samples make up an epoch: `Subset` or, when training, `ClassBalanced`, `Weighted`, `Mixed` or
            `Custom`. None means every sample once.
        drop_last: Whether training drops the samples that do not fill the last global batch; they differ each epoch
            unless the order is fixed. If False, rows from the start of the epoch, with `mask` False, fill the last
            batch, so that all replicas take the same number of steps.
        cache: For a set in an object store, such as s3://bucket/shards/train: the folder on a local disk in which its
            shards are cached. Defaults to the environment variable ALEXKIT_CACHE.
        cache_limit: Maximum size of the cache: bytes, or text such as "20GB". Defaults to the environment variable
            ALEXKIT_CACHE_LIMIT or, if that is not set, to 90 % of the disk space that is free or holds cached shards.

    Raises:
        InputError: For invalid arguments or an inconsistent shard set, before the first batch.
    """

    def __init__(
        self,
        folder: str | Path | StoreUrl | Sequence[str | Path],
        *,
        batch_size: int,
        augment: Augmentation,
        device: str | torch.device = "cpu",
        seed: int = 0,
        replica: int | Literal["auto"] = "auto",
        num_replicas: int | None = None,
        order: Order = "full",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        num_threads: int | None = None,
        hw_decoder_load: float = 0.0,
        on_error: OnError = "raise",
        max_replaced: float = 0.001,
        operators: Callable[..., Any] | None = None,
        extras: Sequence[str] = (),
        target: Callable[[Example], Any] | None = None,
        mix: Mix | None = None,
        sampling: Sampling | None = None,
        drop_last: bool = True,
        cache: str | Path | None = None,
        cache_limit: str | int | None = None,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name != "self"}
        if not isinstance(augment, Augmentation):
            raise InputError(f"augment must be one of the augmentations, such as TrainAugment(), got {augment!r}")
        if dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype!r}")
        batch_size = whole_number("batch_size", batch_size, at_least=1)
        threads = own_cores() if num_threads is None else whole_number("num_threads", num_threads, at_least=1)
        found = find_replica(replica, num_replicas, training=augment.training, batch_size=batch_size)
        self._launched = found if replica == "auto" and augment.training else None
        check_extras(augment, dtype, batch_size, operators, target, sampling, mix)
        self.device = find_device(device)
        decoder_load = find_decoder_load(hw_decoder_load, self.device)
        seed = whole_number("seed", seed, at_least=0, at_most=2**64 - 1)
        order = choice("order", order, Order)
        self.shard_sets, remote = open_sets(folder, cache, cache_limit)
        with closed_on_error(remote):
            self.shard_set = self.shard_sets[0]
            self._cache_limit = None if remote is None else remote.cache.limit_bytes
            if order == "fixed" and augment.training:
                require_shuffled(self.shard_sets)
            plan = augment.plan(self.shard_set)
            if dtype == torch.uint8 and plan.changes_pixels:
                raise InputError(
                    "uint8 batches hold gray levels: choose mean='none', std='none', pixel_range='0-255' and "
                    "jitter='off', or a float dtype"
                )
            self._samples = Samples(self.shard_sets)
            labels_N = self._samples.labels_N
            drawn = None if sampling is None else sampling.drawn(labels_N, self._samples.first_of_set)
            allowed = None if drawn is None else drawn.allowed
            check_labels(mix, labels_N, allowed)
            self._schedule = Schedule(
                num_samples=len(self._samples),
                batch_size=batch_size,
                replica=found[0],
                num_replicas=found[1],
                seed=seed,
                order=order,
                training=augment.training,
                drop_last=flag("drop_last", drop_last),
                drawn=drawn,
                first_sample_S=self._samples.first_of_shard,
            )
            if self._schedule.order in ("window", "shards"):
                report_mixing(self._schedule)
            backend = BackendOptions(
                pixels=self.shard_set.manifest.pixels,
                batch_size=batch_size,
                device=self.device,
                num_threads=threads,
                dtype=dtype,
                channels_last=flag("channels_last", channels_last),
                operators=operators,
                hw_decoder_load=decoder_load,
            )
            budget = max(LEAST_BUDGET, int(number("max_replaced", max_replaced, 0, 1) * len(self._samples)))
            self._samples.find(np.empty(0, np.int64))  # warm-up: Numba compiles now, not at the first batch
            flow = Flow(
                self._schedule,
                plan,
                self._samples,
                CorruptSamples(self._samples, budget=budget, allowed=allowed),
                None if remote is None else RemoteShards(remote, self._schedule, self._samples),
                backend,
                FlowOptions(
                    on_error=choice("on_error", on_error, OnError),
                    extras=extensions("extras", extras),
                    target=target,
                    mix=mix,
                    # A set that fits into memory stays there after the first epoch: reading ahead would only cost time.
                    reads_ahead=self._samples.num_bytes > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2,
                ),
            )
            self._loops = Loops(flow, self._schedule)
            self._identity = identity_of(self.shard_sets, self._schedule, "" if drawn is None else drawn.name)

    @property
    def num_samples(self) -> int:
        """Samples per epoch, including any that `drop_last` drops."""
        return self._schedule.num_samples

    @property
    def batch_size(self) -> int:
        """Samples per batch on this replica."""
        return self._schedule.batch_size

    @property
    def num_classes(self) -> int:
        """Number of classes in the shard set's class table."""
        return len(self.shard_set.manifest.classes)

    @property
    def classes(self) -> list[str]:
        """Class names, indexed by class number."""
        return [entry.name for entry in self.shard_set.manifest.classes]

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Number of stored samples of each class, regardless of `sampling`, int64 (classes,)."""
        labels_N = self.labels
        return np.bincount(labels_N[labels_N >= 0], minlength=self.num_classes)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class number of each stored sample by index, regardless of `sampling`, -1 without a label, int64 (N,)."""
        self._loops.require_open()
        return self._samples.labels_N.astype(np.int64)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Mapping of class ids (WordNet ids or folder names) to class numbers, as in torchvision's `ImageFolder`."""
        return {entry.id: entry.index for entry in self.shard_set.manifest.classes}

    @property
    def dataset(self) -> StoredSamples:
        """The stored samples as a map-style dataset, without augmentation: for inspection and for `len`."""
        self._loops.require_open()
        sets = zip(self.shard_sets, self._samples.indexes, strict=True)
        return StoredSamples([StoredImages(one, index, cache_limit=self._cache_limit) for one, index in sets])

    # accelerate's `skip_first_batches`, with which Hugging Face's Trainer resumes, reads these `DataLoader` attributes.
    num_workers: ClassVar[int] = 0
    prefetch_factor: ClassVar[None] = None

    @property
    def sampler(self) -> SequentialSampler | None:
        """A SequentialSampler if epochs are not shuffled; Lightning's `overfit_batches` looks at its type."""
        is_sequential = self._schedule.order in ("stored", "fixed")
        return SequentialSampler(range(self.num_samples)) if is_sequential else None

    @property
    def batch_sampler(self) -> BatchNumbers:
        """The batch numbers of an epoch; code that resumes by skipping batches drops the first of them."""
        return BatchNumbers(self)

    @staticmethod
    def collate_fn(batch: Batch) -> Batch:
        """Return the batch, which is already collated."""
        return batch

    @property
    def epoch(self) -> int:
        """Epoch of the next batch, counted from 0."""
        return self._loops.epoch

    @property
    def num_replaced(self) -> int:
        """Rows yielded so far in which another sample replaces a corrupt one."""
        return self._loops.num_replaced

    def __len__(self) -> int:
        """Batches per epoch, the same on every replica."""
        return self._schedule.num_batches

    def __iter__(self) -> Iterator[Batch]:
        return self._begin()

    def state_dict(self) -> dict[str, Any]:
        """The loader's position, as plain JSON. A loader that loads it continues with the batch that is next here.

        A batch counts as consumed once it is yielded. After the last batch of an epoch, the state is therefore the
        start of the next epoch, and a loop that resumes from it yields that whole epoch. torchdata's
        StatefulDataLoader would first yield an empty remainder.
        """
        return {**self._identity, "position": self._loops.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state: the next batch is the one that came next when the state was saved.

        The number of replicas may differ, but not the global batch size. Raises InputError, naming the difference, if
        the state belongs to another shard set, seed, order, sampling, global batch size or state version.
        """
        self._loops.move(position_in(state, self._identity, self._schedule), resumes=True)

    def set_epoch(self, epoch: int) -> None:
        """Move to the start of `epoch`, unless `load_state_dict` has just moved into it.

        Trainers call this before each epoch, as for torch's DistributedSampler, also to resume in the middle of one.
        Without it, epochs follow one another.
        """
        epoch = whole_number("epoch", epoch, at_least=0, at_most=2**32 - 1)
        self._loops.require_open()
        start = epoch * self._schedule.epoch_samples
        has_resumed = self._loops.resumes and epoch == self.epoch
        if self._loops.position != start and not has_resumed:
            self._loops.move(start, resumes=False)

    def _batch(self, epoch: int, number: int) -> Batch:
        """Move to batch `number` of an epoch and return it."""
        position = epoch * self._schedule.epoch_samples + number * self._schedule.global_batch
        if position != self._loops.position:
            self._loops.move(position, resumes=True)
        self._loops.resumes = True
        return next(self._begin())

    def _begin(self) -> Iterator[Batch]:
        if self._launched is not None:
            require_rank(self._launched)
        return self._loops.begin()

    def close(self) -> None:
        """Release threads, memory and mapped files. A closed loader yields no more batches."""
        self._loops.close()
        self.__dict__.pop("_samples", None)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self._arguments, self.state_dict(), self._loops.resumes)

    def __repr__(self) -> str:
        schedule = self._schedule
        done = self._loops.position % schedule.epoch_samples // schedule.global_batch
        return (
            f"Loader({str(self.shard_set.folder)!r}, {self.num_samples} samples, {self.num_classes} classes, "
            f"{len(self)} batches of {schedule.batch_size} an epoch, {self._arguments['augment']!r}, "
            f"device={str(self.device)!r}, seed={schedule.seed}, "
            f"replica {schedule.replica} of {schedule.num_replicas}, epoch {self.epoch}, next batch {done})"
        )


def _unpickle(arguments: dict[str, Any], state: dict[str, Any], resumes: bool) -> Loader:
    loader = Loader(**arguments)
    # A loader at its start needs no state, which would be refused if "auto" finds another number of replicas here.
    if state["position"]:
        loader.load_state_dict(state)
        loader._loops.resumes = resumes
    return loader
