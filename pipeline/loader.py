"""The loader: a shard set in, batches of torch tensors out.

What a batch holds is decided by pure functions of the number of samples consumed (`schedule`, `augment`); backends only
compute. So a loader's state is one integer, and neither restarts nor threads nor the number of replicas change which
samples make up global batch k, or their pixels.
"""

import hashlib
import json
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..cores import num_cores
from ..errors import InputError
from ..prep import ShardSet
from ..prep.storage import StoreUrl
from .arguments import choice, extensions, flag, number, whole_number
from .augment import Augmentation, CenterCrop
from .backends import Backend, BackendError, BackendOptions, new_backend
from .batch import Batch
from .device import find_device
from .order import Order, full_order, meetings
from .remote import RemoteShards, open_set
from .replicas import find_replica
from .schedule import LocalBatch, Schedule
from .storage import LEAST_BUDGET, CorruptSamples, Samples, Stored, find_undecodable, stored_shapes

log = logging.getLogger(__name__)

STATE_VERSION = 1
BATCHES_AHEAD = 2
CHECKS_AHEAD = 2  # batches whose checksums are compared before the backend gets them
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8)
OnError = Literal["raise", "replace"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _UnderWay:
    """A batch that the backend is computing, and what the host knows of it."""

    batch: LocalBatch
    end: int
    """The position after it."""
    num_replaced: int
    labels_B: NDArray[np.int64]
    keys: list[str]
    extras: dict[str, list[bytes | None]]


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
        folder: A shard set: the folder of one split, with its `manifest.json`, or its address in a store.
        batch_size: Samples of one batch on this replica. The global batch is batch_size * num_replicas.
        augment: `TrainAugment`, `RandomResizedCrop`, `CenterCrop` or `TenViews`: what is done to each image.
        device: "cpu", "cuda" or "cuda:N": where images are decoded and batches lie.
        seed: 0 to 2**64 - 1. Order and augmentation are functions of (seed, epoch, sample).
        replica: Which rows of every global batch are this process's: replica r of R takes every R-th. "auto" takes rank
            and world size from `torch.distributed` or torchrun when training, and reads everything when evaluating.
            Processes that share one model must say their own.
        num_replicas: Needed with a `replica` other than 0.
        order: "full", a uniform permutation; "window", long reads for slow disks; or "shards", each shard once, for
            remote sets (see `order.py`).
        dtype: float32, float16, bfloat16, or uint8: gray levels, which needs mean="none", std="none" and jitter="off".
        channels_last: Give the images torch's channels_last memory format; their shape stays (B, 3, H, W).
        num_threads: For decoding and cropping; None means one per core.
        on_error: Each stored image is compared with its checksum before it is used. "raise" stops at a corrupt one and
            names it. "replace" logs it and gives the next sound one in stored order (masked out in an evaluation);
            `num_replaced` counts such rows.
        max_replaced: The fraction of the samples that may be corrupt before "replace" stops too; 10 always may.
        operators: A function of a DALI node that puts your own operators after the built-in ones; it sees one finished
            view, as uint8 or float32.
        extras: Extensions of other tar members, which come as bytes in `Batch.extras`.
        cache: For a set at an address such as s3://bucket/shards/train: the folder, on a disk of this machine, through
            which it is read; ALEXKIT_CACHE unless told.
        cache_limit: What the cache may hold: bytes, or text such as "20GB"; ALEXKIT_CACHE_LIMIT unless told, else nine
            tenths of what the disk has room for.

    Raises:
        InputError: For impossible arguments and for a shard set that does not hold together, before the first batch.
    """

    def __init__(
        self,
        folder: str | Path | StoreUrl,
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
        on_error: OnError = "raise",
        max_replaced: float = 0.001,
        operators: Callable[[Any], Any] | None = None,
        extras: Sequence[str] = (),
        cache: str | Path | None = None,
        cache_limit: str | int | None = None,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name != "self"}
        if not isinstance(folder, str | os.PathLike | StoreUrl):
            raise InputError(f"folder must be the path of a shard set, got {folder!r}")
        if not isinstance(augment, Augmentation):
            raise InputError(f"augment must be one of the augmentations, such as TrainAugment(), got {augment!r}")
        if dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype!r}")
        if operators is not None and not callable(operators):
            raise InputError(f"operators must be a function of a DALI node, got {operators!r}")
        batch_size = whole_number("batch_size", batch_size, at_least=1)
        cores = num_cores()
        threads = cores if num_threads is None else whole_number("num_threads", num_threads, at_least=1)
        found = find_replica(replica, num_replicas, training=augment.training, batch_size=batch_size)
        self._on_error = choice("on_error", on_error, OnError)
        self._extras = extensions("extras", extras)
        self.device = find_device(device)
        seed = whole_number("seed", seed, at_least=0, at_most=2**64 - 1)
        order = choice("order", order, Order)
        self.shard_set, remote = open_set(folder, cache, cache_limit)
        self._schedule = Schedule(
            num_samples=self.shard_set.manifest.num_samples,
            batch_size=batch_size,
            replica=found[0],
            num_replicas=found[1],
            seed=seed,
            order=order,
            training=augment.training,
            first_sample_S=np.cumsum([0, *(shard.num_samples for shard in self.shard_set.manifest.shards)]),
        )
        self._plan = augment.plan(self.shard_set)
        if dtype == torch.uint8 and self._plan.changes_pixels:
            raise InputError(
                "uint8 batches hold gray levels: choose mean='none', std='none', pixel_range='0-255' and jitter='off', "
                "or a float dtype"
            )
        if self._schedule.order in ("window", "shards"):
            _report_mixing(self._schedule)
        self._samples = Samples([self.shard_set])
        self._remote = None if remote is None else RemoteShards(remote, self._schedule, self._samples)
        # A set that fits into memory is there after the first epoch, and asking for it would only cost time.
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self._reads_ahead = self._remote is None and self._samples.num_bytes > memory / 2
        self._options = BackendOptions(
            pixels=self.shard_set.manifest.pixels,
            batch_size=batch_size,
            device=self.device,
            num_threads=threads,
            dtype=dtype,
            channels_last=flag("channels_last", channels_last),
            operators=operators,
        )
        budget = max(LEAST_BUDGET, int(number("max_replaced", max_replaced, 0, 1) * self.num_samples))
        self._corrupt = CorruptSamples(self._samples, budget=budget)
        self._checks: deque[tuple[LocalBatch, Future[dict[int, str]]]] = deque()
        self._failure: InputError | None = None  # of the batch at `_fed`
        self._under_way: deque[_UnderWay] = deque()
        self._progress = (0, 0)  # position and replaced rows, in one object so that they change in one instruction
        self._fed = 0
        self._resumes = False  # the next loop of an evaluation starts where `load_state_dict` said
        self._loop: weakref.ref[_Loop] = weakref.ref(_NO_LOOP)
        self._turn = threading.RLock()
        self._process = os.getpid()
        self._closed = False
        self._samples.find(np.empty(0, np.int64))  # warm-up: Numba compiles now, not at the first batch
        self._backend: Backend | None = self._new_backend()

    @property
    def num_samples(self) -> int:
        """Samples in the shard set."""
        return self._schedule.num_samples

    @property
    def num_classes(self) -> int:
        """Classes in the shard set's table."""
        return len(self.shard_set.manifest.classes)

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""
        return self._position // self._schedule.epoch_samples

    @property
    def num_replaced(self) -> int:
        """Rows handed over so far in which another sample replaces a corrupt one."""
        return self._progress[1]

    @property
    def _position(self) -> int:
        return self._progress[0]

    def __len__(self) -> int:
        """Batches of a whole epoch, the same on every replica."""
        return self._schedule.num_batches

    def __iter__(self) -> Iterator[Batch]:
        self._require_open()
        before = self._loop()
        thread = threading.current_thread()
        if before is not None and before.is_open and before.thread is not thread and before.thread.is_alive():
            raise InputError(
                f"thread {before.thread.name!r} is iterating this loader, and a loader serves one loop; make one for "
                f"thread {thread.name!r} too"
            )
        if not self._schedule.training:
            if not self._resumes and self._position % self._schedule.epoch_samples:
                self._reposition(self._position - self._position % self._schedule.epoch_samples)
            self._resumes = False
        loop = _Loop(self, end=(self.epoch + 1) * self._schedule.epoch_samples)
        self._loop = weakref.ref(loop)
        return loop

    def state_dict(self) -> dict[str, int | str]:
        """Where the loader stands, as plain JSON: the next batch of a loader that loads it is the one due here.

        A batch counts as soon as it was handed over. So the state of a loop that has been given the last batch of an
        epoch is the start of the next epoch: a loop that resumes from it gives that whole epoch, where torchdata's
        StatefulDataLoader gives an empty rest first.
        """
        return {**self._identity(), "position": self._position}

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        """Continue with the very next batch. The number of replicas may differ, the global batch may not.

        Raises InputError, saying what differs, for the state of another shard set, seed, order or version.
        """
        if not isinstance(state, dict):
            raise InputError(f"loader state: expected what state_dict gave, got {state!r}")
        for name, expected in self._identity().items():
            if state.get(name) != expected:
                raise InputError(f"loader state: {name} is {state.get(name)!r}, this loader has {expected!r}")
        position = state.get("position")
        counts = isinstance(position, int) and not isinstance(position, bool) and position >= 0
        if not counts or position % self._schedule.epoch_samples % self._schedule.global_batch:  # type: ignore[operator]
            raise InputError(f"loader state: position {position!r} is not the start of a batch")
        self._require_open()
        self._reposition(position)  # type: ignore[arg-type]
        self._resumes = True

    def set_epoch(self, epoch: int) -> None:
        """Stand at the start of `epoch`, unless the loader is within it already, as after `load_state_dict`.

        What trainers call before each epoch, as with torch's DistributedSampler; without it epochs follow each other.
        """
        epoch = whole_number("epoch", epoch, at_least=0, at_most=2**32 - 1)
        self._require_open()
        if epoch != self.epoch:
            self._reposition(epoch * self._schedule.epoch_samples)

    def close(self) -> None:
        """Release threads, memory and mapped files. A closed loader gives no more batches."""
        if self._closed:
            return
        self._closed = True
        if self._backend is not None and os.getpid() == self._process:
            self._backend.close()
        self._backend = None
        self._under_way.clear()
        self._checks.clear()
        if os.getpid() == self._process:
            self._corrupt.close()
            if self._remote is not None:
                self._remote.close()
        del self._samples, self._corrupt

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self._arguments, self.state_dict(), self._resumes)

    def __repr__(self) -> str:
        schedule = self._schedule
        done = self._position % schedule.epoch_samples // schedule.global_batch
        return (
            f"Loader({str(self.shard_set.folder)!r}, {self.num_samples} samples, {self.num_classes} classes, "
            f"{len(self)} batches of {schedule.batch_size} an epoch, {self._arguments['augment']!r}, "
            f"device={str(self.device)!r}, seed={schedule.seed}, "
            f"replica {schedule.replica} of {schedule.num_replicas}, epoch {self.epoch}, next batch {done})"
        )

    def _identity(self) -> dict[str, int | str]:
        return {
            "version": STATE_VERSION,
            "shard_set": _fingerprint(self.shard_set),
            "seed": self._schedule.seed,
            "num_samples": self.num_samples,
            "global_batch": self._schedule.global_batch,
            "order": self._schedule.order,
        }

    def _require_open(self) -> None:
        if self._closed:
            raise InputError("this loader is closed; make a new one")
        if os.getpid() != self._process:
            raise InputError(
                f"this loader was made in process {self._process}, and its threads do not survive a fork into process "
                f"{os.getpid()}; make the loader in the process that iterates it, or start processes by 'spawn'"
            )

    def _next(self, loop: "_Loop") -> Batch:
        """The next batch for a loop, which counts as consumed by the last thing done here."""
        self._require_open()
        if not self._turn.acquire(blocking=False):
            raise InputError(
                f"thread {threading.current_thread().name!r} asks for a batch while another thread waits for its own; "
                "a loader serves one loop in one thread"
            )
        try:
            if self._loop() is not loop:
                raise InputError("another loop over this loader has begun, or it was moved, so this loop is over")
            # Training never waits at the end of an epoch; evaluation prepares nothing after its end.
            stop = None if self._schedule.training else loop.end
            while True:
                backend = self._ready_backend()
                try:
                    while len(self._under_way) <= BATCHES_AHEAD and (stop is None or self._fed < stop):
                        if self._failure or not self._feed(backend, stop):
                            break
                    if self._failure and not self._under_way:
                        raise self._failure  # now that the batches before it are out
                    batch, one = self._receive(backend), self._under_way[0]
                    break
                except BackendError as error:
                    batches = [one.batch for one in self._under_way]
                    self._discard()  # DALI gives up the whole pipeline with the batch
                    self._find_culprit(batches, error)
                except BaseException:
                    self._discard()
                    raise
        finally:
            self._turn.release()
        # One store, and no call after it: an interrupt comes before, and the batch comes again, or after the return.
        self._progress = one.end, self.num_replaced + one.num_replaced
        return batch

    def _new_backend(self) -> Backend:
        return new_backend(self._plan, self._samples.data, self._options)

    def _ready_backend(self) -> Backend:
        """The backend; a new one, which starts at `_position`, when the last one is not where the loader is."""
        while self._under_way and self._under_way[0].end <= self._position:
            self._under_way.popleft()  # was handed over
        if self._backend is not None and len(self._backend) != len(self._under_way):
            self._discard()  # interrupted between the backend's answer and the caller
        if self._backend is None:
            self._under_way.clear()
            self._forget_checks()
            self._fed = self._position
            self._backend = self._new_backend()
        return self._backend

    def _rest(self) -> None:
        """An evaluation is over: let go of a remote set's shards until the next one."""
        if self._remote is not None and not self._schedule.training:
            self._remote.rest()

    def _discard(self) -> None:
        """Give up what is under way, safe to be interrupted: the next batch is still the one due at `_position`."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def _reposition(self, position: int) -> None:
        """The next batch is the one that starts at `position`; running loops are over."""
        self._loop = weakref.ref(_NO_LOOP)
        if self._backend is not None and len(self._backend):
            self._discard()
        self._under_way.clear()
        self._forget_checks()
        self._progress = position, self.num_replaced
        self._fed = position

    def _forget_checks(self) -> None:
        self._checks.clear()
        self._failure = None

    def _feed(self, backend: Backend, stop: int | None) -> bool:
        """Start the batch at `_fed`; returns while the backend works. False, with `_failure`, for a corrupt one."""
        schedule = self._schedule
        ahead = self._fed
        for _ in self._checks:
            ahead = schedule.after(ahead)
        while len(self._checks) <= CHECKS_AHEAD and (not self._checks or stop is None or ahead < stop):
            batch = schedule.local_batch(ahead)
            if self._remote is not None:
                self._remote.prepare(batch.indices_B, feeding=ahead, received=self._position)
            elif self._reads_ahead or batch.epoch == 0:
                self._samples.read_ahead(schedule.read_ahead(ahead))
            self._checks.append((batch, self._corrupt.check(batch)))
            ahead = schedule.after(ahead)
        batch, check = self._checks.popleft()
        if corrupt := check.result():
            if self._on_error == "raise":
                self._failure = self._refusal(*min(corrupt.items()))
                return False
            self._corrupt.add(corrupt)
        batch, num_replaced = self._corrupt.without(batch, training=schedule.training)
        images, labels_B = self._samples.find(batch.indices_B)
        one = _UnderWay(
            batch=batch,
            end=schedule.after(self._fed),
            num_replaced=num_replaced,
            labels_B=labels_B,
            keys=self._samples.keys(batch.indices_B),
            extras={ext: self._samples.extras(batch.indices_B, ext) for ext in self._extras},
        )
        self._samples.release(int(images.sizes_B.sum()))
        backend.start(images, self._plan.views(schedule.seed, batch, self._shapes(images)))
        self._under_way.append(one)
        self._fed = one.end
        return True

    def _shapes(self, images: Stored) -> NDArray[np.int64]:
        """Heights and widths of stored images in px; read from their headers only where these decide anything."""
        pixels = self.shard_set.manifest.pixels
        if pixels.fit == "shorter" and self._plan.sampling != "stored":
            return stored_shapes(self._samples.data, images, pixels.size_px)
        return np.full((len(images.starts_B), 2), pixels.size_px)

    def _receive(self, backend: Backend) -> Batch:
        """The oldest batch under way, whole."""
        images, one = backend.finish(), self._under_way[0]
        return Batch(
            images=images,
            labels=torch.from_numpy(one.labels_B).to(self.device, non_blocking=True),
            indices=torch.from_numpy(one.batch.indices_B).to(self.device, non_blocking=True),
            mask=torch.from_numpy(one.batch.mask_B).to(self.device, non_blocking=True),
            keys=one.keys,
            extras=one.extras,
        )

    def _find_culprit(self, batches: list[LocalBatch], error: BackendError) -> None:
        """Find the image that the backend stumbled over, although its checksum is right or unknown.

        Raises InputError naming it, unless it is to be replaced, and BackendError when there is none, so that the
        mistake is elsewhere.
        """
        corrupt = find_undecodable(batches, self._decodes)
        if not corrupt:
            raise BackendError(f"{self.shard_set.folder}: DALI failed on a batch of sound images: {error}") from error
        if self._on_error == "raise":
            raise self._refusal(*min(corrupt.items())) from error
        self._corrupt.add(corrupt)

    def _decodes(self, index: int) -> bool:
        """Whether this sample alone is decoded, and has its size."""
        options = replace(self._options, batch_size=1, num_threads=1, operators=None)
        plan = CenterCrop(crop=1, mean="none").plan(self.shard_set)
        one = LocalBatch(epoch=0, numbers_B=np.zeros(1, np.int64), indices_B=np.array([index]), mask_B=np.ones(1, bool))
        backend = new_backend(plan, self._samples.data, options)
        try:
            images, _ = self._samples.find(one.indices_B)
            backend.start(images, plan.views(0, one, self._shapes(images)))
            backend.finish()
        except BackendError:
            return False
        finally:
            backend.close()
        return True

    def _refusal(self, index: int, reason: str) -> InputError:
        return InputError(
            f"{self._samples.where(index)}: {reason}, so the disk or a copy went wrong; "
            "'alexprep repair SHARDS SOURCE' makes it again, on_error='replace' goes on without it"
        )


class _Loop(Iterator[Batch]):
    """One `for` loop over a loader, to the end of an epoch."""

    def __init__(self, loader: Loader, *, end: int) -> None:
        self._loader = loader
        self.end = end
        self.is_open = True
        self.thread = threading.current_thread()

    def __next__(self) -> Batch:
        if not self.is_open:
            raise StopIteration
        if self._loader._position >= self.end and self._loader._loop() is self:
            self.is_open = False
            self._loader._rest()
            raise StopIteration
        self.thread = threading.current_thread()
        return self._loader._next(self)


class _NoLoop:
    is_open = False


_NO_LOOP: Any = _NoLoop()


def _unpickle(arguments: dict[str, Any], state: dict[str, int | str], resumes: bool) -> Loader:
    loader = Loader(**arguments)
    if state["position"]:  # a fresh loader may find itself one of several replicas where it is unpickled
        loader.load_state_dict(state)
        loader._resumes = resumes
    return loader


def _report_mixing(schedule: Schedule) -> None:
    own = meetings(schedule.epoch_indices(0), schedule.global_batch)
    full = meetings(full_order(schedule.seed, 0, schedule.num_samples), schedule.global_batch)
    log.info(
        "%s order: %.1f %% of the samples meet a stored neighbor in their batch, in full order %.1f %%",
        schedule.order,
        100 * own,
        100 * full,
    )


def _fingerprint(shard_set: ShardSet) -> str:
    """One hash for the content of all shards, in order."""
    rows = [(shard.name, shard.num_samples, shard.sha256) for shard in shard_set.manifest.shards]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
