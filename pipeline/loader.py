"""The loader: a shard set in, batches of torch tensors out.

What a batch holds is decided by pure functions of the number of samples consumed (`schedule`, `augment`); backends only
compute. So a loader's state is one integer, and neither restarts nor threads nor the number of replicas change which
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

from ..cores import own_cores
from ..errors import InputError
from ..prep.storage import StoreUrl
from .arguments import choice, extensions, flag, number, whole_number
from .arguments.device import find_decoder_load, find_device
from .arguments.extras import check_extras, check_labels
from .arguments.replicas import find_replica
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
from .remote import RemoteShards
from .sets import closed_on_error, open_sets, require_shuffled
from .state import identity_of, position_in
from .storage import LEAST_BUDGET, CorruptSamples, Samples
from .targets import Example

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8)


class Loader:
    """Batches of a shard set, as an iterable for any training loop.

    With an augmentation for training the order is shuffled and the tail that fills no global batch is dropped; every
    `for` loop runs to the end of the current epoch, from wherever the loader stands: after a `break`, or after
    `load_state_dict`, it gives the rest of that epoch, and after a whole epoch the next one. With `CenterCrop` or
    `TenViews` every sample comes exactly once, in stored order, the last batch padded and masked, and every `for` loop
    is a whole pass, also after a `break`; only `load_state_dict` makes the next one start in the middle.

    A loader belongs to one loop in one thread of the process that made it. It pickles as its arguments and position, so
    that processes started by "spawn" can take it along.

    Args:
        folder: A shard set: the folder of one split, with its `manifest.json`, or its address in a store. Or a list of
            folders with the same classes and pixels, whose samples follow each other.
        batch_size: Samples of one batch on this replica. The global batch is batch_size * num_replicas.
        augment: `TrainAugment`, `RandomResizedCrop`, `CenterCrop` or `TenViews`: what is done to each image.
        device: "cpu", "cuda" or "cuda:N": where images are decoded and batches lie.
        seed: 0 to 2**64 - 1. Order and augmentation are functions of (seed, epoch, sample).
        replica: Which rows of every global batch are this process's: replica r of R takes every R-th. "auto" takes rank
            and world size from `torch.distributed` or torchrun when training, and reads everything when evaluating.
            Processes that share one model must say their own.
        num_replicas: Needed with a `replica` other than 0.
        order: "full", a uniform permutation; "window", long reads for slow disks; "shards", each shard once, for
            remote sets; or "fixed", the stored order in every epoch, as released in 2012 (see `order.py`).
        dtype: float32, float16, bfloat16, or uint8: gray levels, which needs mean="none", std="none" and jitter="off".
        channels_last: Give the images torch's channels_last memory format; their shape stays (B, 3, H, W).
        num_threads: For decoding and cropping; None means one per core, the cores divided by the processes that
            torchrun started on this machine.
        hw_decoder_load: The fraction, 0 to 1, of a batch's JPEGs that a GPU's own JPEG unit decodes (A100, H100 and the
            like; DALI's default is 0.65); without effect on sets of other formats and GPUs without a unit, refused on a
            CPU. It rounds otherwise than CUDA does, and which images it takes depends on the batch: pixels then differ
            by a few gray levels from one batch size to another. Order and draws are the same.
        on_error: Each stored image is compared with its checksum before it is used. "raise" stops at a corrupt one and
            names it. "replace" logs it and gives the next sound one in stored order (masked out in an evaluation);
            `num_replaced` counts such rows.
        max_replaced: The fraction of the samples that may be corrupt before "replace" stops too; 10 always may.
        operators: A function of a DALI node that puts your own operators after the built-in ones; it sees one finished
            view, as uint8 or float32. With a second parameter, one without a default or called `random`, it is given a
            `SeededRandom`, whose numbers replay.
        extras: Extensions of other tar members, which come as bytes in `Batch.extras`.
        target: A function of an `Example`, called on the host for each sample; what it returns comes collated in
            `Batch.targets`.
        mix: Mixup and cutmix of every training batch on its device; `Batch.labels` are then probabilities.
        sampling: `Subset` or, in training, `ClassBalanced`, `Weighted` or `Mixed`; None means all samples once.
        drop_last: Whether training drops the tail that fills no global batch, another one each epoch unless the order
            is fixed. Else the last batch is filled up from the start of the epoch, with `mask` False, so that replicas
            take as many steps.
        cache: For a set at an address such as s3://bucket/shards/train: the folder, on a disk of this machine, through
            which it is read; ALEXKIT_CACHE unless told.
        cache_limit: What the cache may hold: bytes, or text such as "20GB"; ALEXKIT_CACHE_LIMIT unless told, else nine
            tenths of what the disk has room for.

    Raises:
        InputError: For impossible arguments and for a shard set that does not hold together, before the first batch.
    """

    def __init__(
        self,
        folder: str | Path | StoreUrl | Sequence[str | Path],
        *,
        batch_size: int,
        augment: Augmentation,
        device: str = "cpu",
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
                    # A set that fits into memory is there after the first epoch; asking for it would only cost time.
                    reads_ahead=self._samples.num_bytes > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2,
                ),
            )
            self._loops = Loops(flow, self._schedule)
            self._identity = identity_of(self.shard_sets, self._schedule, "" if drawn is None else drawn.name)

    @property
    def num_samples(self) -> int:
        """Samples of an epoch before a tail is dropped."""
        return self._schedule.num_samples

    @property
    def batch_size(self) -> int:
        """Samples of one batch on this replica."""
        return self._schedule.batch_size

    @property
    def num_classes(self) -> int:
        """Classes in the shard set's table."""
        return len(self.shard_set.manifest.classes)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by class number."""
        return [entry.name for entry in self.shard_set.manifest.classes]

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Stored samples of each class by label, whatever `sampling` takes of them, int64 (classes,)."""
        self._loops.require_open()
        labels_N = self._samples.labels_N
        return np.bincount(labels_N[labels_N >= 0], minlength=self.num_classes)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Class numbers by class id: the WordNet id or folder name, as torchvision's ImageFolder has it."""
        return {entry.id: entry.index for entry in self.shard_set.manifest.classes}

    @property
    def dataset(self) -> StoredSamples:
        """The samples as a map-style dataset, undecoded by the loader: for looking, and for `len`."""
        self._loops.require_open()
        return StoredSamples(self._samples, self._cache_limit)

    # accelerate's `skip_first_batches`, by which Hugging Face's Trainer resumes, reads these of a `DataLoader`.
    num_workers: ClassVar[int] = 0
    prefetch_factor: ClassVar[None] = None
    sampler: ClassVar[None] = None

    @property
    def batch_sampler(self) -> BatchNumbers:
        """The numbers of an epoch's batches, of which code that resumes by skipping leaves some out."""
        return BatchNumbers(self)

    @staticmethod
    def collate_fn(batch: Batch) -> Batch:
        """The batch, which is collated already."""
        return batch

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""
        return self._loops.epoch

    @property
    def num_replaced(self) -> int:
        """Rows handed over so far in which another sample replaces a corrupt one."""
        return self._loops.num_replaced

    def __len__(self) -> int:
        """Batches of a whole epoch, the same on every replica."""
        return self._schedule.num_batches

    def __iter__(self) -> Iterator[Batch]:
        return self._loops.begin()

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, as plain JSON: the next batch of a loader that loads it is the one due here.

        A batch counts as soon as it was handed over. So the state of a loop that has been given the last batch of an
        epoch is the start of the next epoch: a loop that resumes from it gives that whole epoch, where torchdata's
        StatefulDataLoader gives an empty rest first.
        """
        return {**self._identity, "position": self._loops.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the very next batch. The number of replicas may differ, the global batch may not.

        Raises InputError, saying what differs, for the state of another shard set, seed, order or version.
        """
        self._loops.move(position_in(state, self._identity, self._schedule), resumes=True)

    def set_epoch(self, epoch: int) -> None:
        """Stand at the start of `epoch`, unless the loader is within it already, as after `load_state_dict`.

        What trainers call before each epoch, as with torch's DistributedSampler; without it epochs follow each other.
        """
        epoch = whole_number("epoch", epoch, at_least=0, at_most=2**32 - 1)
        self._loops.require_open()
        if epoch != self.epoch:
            self._loops.move(epoch * self._schedule.epoch_samples, resumes=False)

    def _batch(self, epoch: int, number: int) -> Batch:
        """The batch of this number in an epoch, wherever the loader stood."""
        position = epoch * self._schedule.epoch_samples + number * self._schedule.global_batch
        if position != self._loops.position:
            self._loops.move(position, resumes=True)
        self._loops.resumes = True
        return next(self._loops.begin())

    def close(self) -> None:
        """Release threads, memory and mapped files. A closed loader gives no more batches."""
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
    if state["position"]:  # a fresh loader may find itself one of several replicas where it is unpickled
        loader.load_state_dict(state)
        loader._loops.resumes = resumes
    return loader
