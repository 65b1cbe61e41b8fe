"""The stream of batches: checked ahead, computed by a backend and returned in order from any position.

A flow knows nothing of loops or saved states. It may be interrupted at any point; batches not yet returned come again.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from .arguments.device import on_device
from .augment import CenterCrop, PixelPlan
from .backends import Backend, BackendError, BackendOptions, new_backend
from .batch import Batch
from .epochs.draws import draw_uniform
from .epochs.schedule import LocalBatch, Schedule
from .mixing import Mix
from .remote import RemoteShards
from .storage import CorruptSamples, Samples, Stored, find_undecodable, stored_shapes
from .targets import Example, TargetError, collate

BATCHES_AHEAD = 2
CHECKS_AHEAD = 2  # batches whose checksums are compared before the backend gets them
OnError = Literal["raise", "replace"]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderWay:
    """A batch that the backend is computing, with the host's data about it."""

    batch: LocalBatch
    start: int
    """The position at which it starts."""
    end: int
    """The position after it."""
    num_replaced: int
    labels_B: NDArray[np.int64]
    keys: list[str]
    extras: dict[str, list[bytes | None]]
    targets: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowOptions:
    """The options of a flow that do not concern pixels."""

    on_error: OnError
    extras: tuple[str, ...]
    """Extensions of other members to read."""
    target: Callable[[Example], Any] | None
    """The user's function that makes a sample's target."""
    mix: Mix | None
    """Mixup and cutmix."""
    reads_ahead: bool
    """Whether to have the system read samples before their batch is due in every epoch, not only in the first."""


class Flow:
    """The batches of a schedule.

    Args:
        schedule: Which samples make up which batch.
        plan: The transform of each image.
        samples: The stored images.
        corrupt: The samples that are known to be corrupt.
        remote: Fetches the shards of a remote set; None for a local set.
        backend: Options of the backend, which computes the pixels.
        options: All other options.
    """

    def __init__(
        self,
        schedule: Schedule,
        plan: PixelPlan,
        samples: Samples,
        corrupt: CorruptSamples,
        remote: RemoteShards | None,
        backend: BackendOptions,
        options: FlowOptions,
    ) -> None:
        self._schedule = schedule
        self._plan = plan
        self._samples = samples
        self._corrupt = corrupt
        self._remote = remote
        self._backend_options = backend
        self._options = options
        self._checks: deque[tuple[LocalBatch, Future[dict[int, str]]]] = deque()
        self._failure: Exception | None = None  # of the batch at `_fed`
        self._under_way: deque[UnderWay] = deque()
        self._fed = 0
        self._backend: Backend | None = self._new_backend()

    def next(self, position: int, stop: int | None) -> tuple[Batch, UnderWay]:
        """The batch that starts at `position`. No batch is started at or after position `stop`.

        Raises InputError for a corrupt image that is not to be replaced, BackendError if operators fail, and whatever
        the target function raises; earlier batches are returned first.
        """
        while True:
            backend = self._backend_at(position)
            try:
                while (
                    self._failure is None
                    and len(self._under_way) <= BATCHES_AHEAD
                    and (stop is None or self._fed < stop)
                ):
                    self._feed_or_fail(backend, position, stop)
                if self._failure is not None and not self._under_way:
                    self._raise_failure()  # all batches before it were returned
                return self._receive(backend), self._under_way[0]
            except BackendError as error:
                batches = [one.batch for one in self._under_way]
                self.discard()  # a failed batch makes the whole DALI pipeline unusable
                self._find_culprit(batches, error)
            except BaseException:
                self.discard()
                raise

    def move(self, position: int) -> None:
        """Make the batch that starts at `position` the next one."""
        if self._backend is not None and len(self._backend):
            self.discard()
        self._under_way.clear()
        self._forget_checks()
        self._fed = position

    def discard(self) -> None:
        """Drop all batches under way; safe to interrupt."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def rest(self) -> None:
        """After an evaluation, release a remote set's shards until the next one."""
        if self._remote is not None and not self._schedule.training:
            self._remote.rest()

    def close(self) -> None:
        """Release threads and memory."""
        self.discard()
        self._under_way.clear()
        self._forget_checks()  # breaks the reference cycle between this object and an error raised from it
        self._corrupt.close()
        if self._remote is not None:
            self._remote.close()

    def _new_backend(self) -> Backend:
        return new_backend(self._plan, self._samples.data, self._backend_options)

    def _backend_at(self, position: int) -> Backend:
        """The backend; a new one if the last one was discarded or is not at this position."""
        while self._under_way and self._under_way[0].end <= position:
            self._under_way.popleft()  # already returned
        if self._backend is not None and len(self._backend) != len(self._under_way):
            self.discard()  # interrupted after the backend returned a batch and before the caller had it
        if self._backend is None:
            self._under_way.clear()
            self._forget_checks()
            self._fed = position
            self._backend = self._new_backend()
        return self._backend

    def _forget_checks(self) -> None:
        for _, check in self._checks:
            check.cancel()
        self._checks.clear()
        self._failure = None

    def _feed_or_fail(self, backend: Backend, received: int, stop: int | None) -> None:
        """Start the batch at `_fed`, or store in `_failure` why it cannot start."""
        try:
            self._feed(backend, received, stop)
        except InputError as error:
            self._failure = error
        except TargetError as error:  # any other exception may come from a signal instead of this batch
            self._failure = error.failure

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        assert failure is not None
        try:
            raise failure
        finally:
            del failure  # its traceback refers to this frame

    def _feed(self, backend: Backend, received: int, stop: int | None) -> None:
        """Start the batch at `_fed` without waiting for it. Raises InputError for a corrupt image."""
        schedule, options = self._schedule, self._options
        self._check_ahead(received, stop)
        batch, check = self._checks.popleft()
        corrupt = check.result()
        if corrupt and not self._corrupt.knows(corrupt):
            corrupt = self._samples.check_again(batch.indices_B, corrupt)
        if corrupt:
            if options.on_error == "raise":
                raise self._refusal(*min(corrupt.items()))
            self._corrupt.add(corrupt)
        batch, num_replaced = self._corrupt.without(batch, training=schedule.training)
        images, labels_B = self._samples.find(batch.indices_B)
        views = self._plan.views(schedule.seed, batch, self._shapes(images))
        keys = self._samples.keys(batch.indices_B)
        extras = {ext: self._samples.extras(batch.indices_B, ext) for ext in options.extras}
        targets = None
        if options.target is not None:
            targets = collate(options.target, batch, labels_B, keys, extras, views)
        if backend.num_random:
            random_BK = draw_uniform(schedule.seed, batch.epoch, batch.draws_B, backend.num_random)
            views = replace(views, random_BK=random_BK)
        self._samples.release(int(images.sizes_B.sum()))
        backend.start(images, views)
        one = UnderWay(
            batch=batch,
            start=self._fed,
            end=schedule.after(self._fed),
            num_replaced=num_replaced,
            labels_B=labels_B,
            keys=keys,
            extras=extras,
            targets=targets,
        )
        self._under_way.append(one)
        self._fed = one.end

    def _check_ahead(self, received: int, stop: int | None) -> None:
        """Start verifying the checksums of the next batches and reading the bytes of later ones."""
        schedule, ahead = self._schedule, self._fed
        for _ in self._checks:
            ahead = schedule.after(ahead)
        while len(self._checks) <= CHECKS_AHEAD and (not self._checks or stop is None or ahead < stop):
            batch = schedule.local_batch(ahead)
            if self._remote is not None:
                self._remote.prepare(batch.indices_B, feeding=ahead, received=received)
            elif self._options.reads_ahead or batch.epoch == 0:
                self._samples.read_ahead(schedule.read_ahead(ahead))
            self._checks.append((batch, self._corrupt.check(batch)))
            ahead = schedule.after(ahead)

    def _shapes(self, images: Stored) -> NDArray[np.int64]:
        """Heights and widths of stored images in px; read from their headers only if the views depend on them."""
        pixels = self._backend_options.pixels
        if pixels.fit == "shorter" and self._plan.reads_shapes:
            return stored_shapes(self._samples.data, images, pixels.size_px)
        return np.full((len(images.starts_B), 2), pixels.size_px)

    def _receive(self, backend: Backend) -> Batch:
        """The oldest batch under way, complete."""
        images, one, schedule = backend.finish(), self._under_way[0], self._schedule
        device = self._backend_options.device
        labels = on_device(torch.from_numpy(one.labels_B), device)
        if self._options.mix is not None:
            num_classes = len(self._samples.shard_sets[0].manifest.classes)
            number = one.start // schedule.epoch_samples * schedule.num_batches
            number += one.start % schedule.epoch_samples // schedule.global_batch
            images, labels = self._options.mix.apply(images, labels, num_classes, schedule.seed, number)
        return Batch(
            images=images,
            labels=labels,
            indices=on_device(torch.from_numpy(one.batch.indices_B), device),
            mask=on_device(torch.from_numpy(one.batch.mask_B), device),
            keys=one.keys,
            extras=one.extras,
            targets=one.targets,
        )

    def _find_culprit(self, batches: Sequence[LocalBatch], error: BackendError) -> None:
        """Find the image on which the backend failed although its checksum is correct or unknown.

        Raises InputError naming it, unless it is to be replaced. Raises BackendError if there is none, since the cause
        is then elsewhere.
        """
        corrupt = find_undecodable(batches, self._decoding_error)
        if not corrupt:
            where = self._samples.shard_sets[0].location
            raise BackendError(f"{where}: DALI failed on a batch although all its images decode: {error}") from error
        if self._options.on_error == "raise":
            raise self._undecodable(*min(corrupt.items())) from error
        self._corrupt.add(corrupt)

    def _decoding_error(self, index: int) -> BackendError | None:
        """Why this sample alone does not decode to its size; None if it does.

        Always decodes on the CPU: a GPU that is out of memory or broken would fail on every image.
        """
        options = replace(
            self._backend_options,
            batch_size=1,
            num_threads=1,
            operators=None,
            device=torch.device("cpu"),
            hw_decoder_load=0.0,
        )
        plan = CenterCrop(crop=1, mean="none").plan(self._samples.shard_sets[0])
        indices = np.array([index])
        one = LocalBatch(epoch=0, numbers_B=indices, indices_B=indices, draws_B=indices, mask_B=np.ones(1, bool))
        backend = new_backend(plan, self._samples.data, options)
        try:
            images, _ = self._samples.find(indices)
            backend.start(images, plan.views(0, one, self._shapes(images)))
            backend.finish()
        except BackendError as error:
            return error
        finally:
            backend.close()
        return None

    def _refusal(self, index: int, reason: str) -> InputError:
        return InputError(
            f"{self._samples.where(index)}: {reason}, so it was damaged on the disk or during a copy; restore it with "
            "'alexprep repair SHARDS SOURCE', or use another sample in its place with on_error='replace' "
            "(--set data.on_error=replace)"
        )

    def _undecodable(self, index: int, reason: str) -> InputError:
        """The error for an image that does not decode. If its checksum is correct, the disk is not to blame."""
        if not self._samples.has_checksums:
            return self._refusal(index, reason)
        return InputError(
            f"{self._samples.where(index)}: {reason}, although its checksum is correct; 'alexprep verify SHARDS "
            "--decode' shows what is wrong, on_error='replace' (--set data.on_error=replace) uses another sample"
        )
