"""Which samples make up which batch: pure functions of one integer, the number of samples consumed.

Training follows an order that differs each epoch, unless it is fixed, and by default drops the samples that do not fill
the last global batch. Evaluation follows the stored order, every sample once, and pads the last batch. Replica r of R
takes every R-th sample of a global batch, so the number of replicas never changes the content of a global batch.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .order import WINDOW_SAMPLES, Order, full_order, meetings, shards_order, window_order
from .sampling import Drawn

READ_AHEAD_BATCHES = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalBatch:
    """One replica's part of one global batch. All arrays have batch_size entries."""

    epoch: int
    """Counted from 0."""
    numbers_B: NDArray[np.int64]
    """Positions in the epoch's order."""
    indices_B: NDArray[np.int64]
    """Sample indices."""
    draws_B: NDArray[np.int64]
    """What augmentation is drawn for: the sample index, or another number if the sample repeats within the epoch."""
    mask_B: NDArray[np.bool_]
    """False for padding, which repeats the last sample of an evaluation, or the first samples of a training epoch."""


class Schedule:
    """The epochs of one loader. Positions count samples consumed by all replicas since the start of epoch 0.

    Args:
        num_samples: Number of samples in the loaded sets.
        batch_size: Samples per batch on one replica.
        replica: 0 to num_replicas - 1.
        num_replicas: Number of replicas that share a global batch.
        seed: Seed of the order.
        order: "full", "window", "shards" or "fixed".
        training: Whether the order is shuffled and repeated.
        drop_last: Whether training drops the samples that do not fill the last global batch. If False, masked samples
            from the start of the same epoch fill it, so that all replicas take the same number of steps.
        drawn: A sampling, or None for all samples once. For an evaluation, it must not draw samples.
        first_sample_S: Where each shard starts, then the number of samples; required by order "shards".
    """

    def __init__(
        self,
        *,
        num_samples: int,
        batch_size: int,
        replica: int,
        num_replicas: int,
        seed: int,
        order: Order,
        training: bool,
        drop_last: bool = True,
        drawn: Drawn | None = None,
        first_sample_S: NDArray[np.int64] | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.global_batch = batch_size * num_replicas
        length = num_samples if drawn is None else drawn.length
        if training and length < self.global_batch:
            raise InputError(
                f"{length} samples do not fill a global batch of {self.global_batch} ({num_replicas} x {batch_size}); "
                f"choose a batch_size of at most {length // num_replicas}"
                + (
                    f", in a recipe --set training.batch_size={length // num_replicas * num_replicas}"
                    if length >= num_replicas
                    else f", and at most {length} replicas"
                )
            )
        if order != "full" and drawn is not None:
            raise InputError(f"order={order!r} does not support a sampling; choose order='full' with a sampling")
        if not training and drawn is not None and drawn.order is not None:
            raise InputError(
                f"an evaluation uses each sample once, but sampling={drawn.name.split()[0]} draws them; choose "
                "sampling=Subset(...) or None"
            )
        self.num_samples = length
        self.seed = seed
        self.order: str = order if training else "stored"
        self.training = training
        self.replica = replica
        self.num_replicas = num_replicas
        self.drop_last = drop_last and training
        self._drawn = drawn
        self._first_sample_S = first_sample_S
        self._order: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def epoch_samples(self) -> int:
        """Samples consumed by one epoch, all replicas together."""
        return self.num_samples // self.global_batch * self.global_batch if self.drop_last else self.num_samples

    @property
    def num_batches(self) -> int:
        """Batches per epoch, the same on every replica."""
        return -(-self.epoch_samples // self.global_batch)

    def after(self, position: int) -> int:
        """The position after the batch that starts at `position`."""
        return min(position + self.global_batch, (position // self.epoch_samples + 1) * self.epoch_samples)

    def local_batch(self, position: int) -> LocalBatch:
        """This replica's part of the global batch that starts at `position`."""
        epoch, start = divmod(position, self.epoch_samples)
        numbers = start + np.arange(self.replica, self.global_batch, self.num_replicas, dtype=np.int64)
        mask = numbers < self.epoch_samples
        if self.training:
            numbers %= self.epoch_samples
        else:
            numbers = np.minimum(numbers, self.epoch_samples - 1)
        if not self.training and self._drawn is None:
            return LocalBatch(epoch=epoch, numbers_B=numbers, indices_B=numbers, draws_B=numbers, mask_B=mask)
        indices, draws = self._epoch_order(epoch)
        return LocalBatch(
            epoch=epoch, numbers_B=numbers, indices_B=indices[numbers], draws_B=draws[numbers], mask_B=mask
        )

    def read_ahead(self, position: int) -> NDArray[np.int64]:
        """Samples whose bytes should be requested when the batch at `position` is started; may be empty.

        In window order, a whole window at a time, one window ahead; otherwise this replica's part of a later batch.
        """
        epoch, start = divmod(position, self.epoch_samples)
        if self.order == "window":
            before = start - self.global_batch
            first = 0 if before < 0 else (before // WINDOW_SAMPLES + 2) * WINDOW_SAMPLES
            return self._epoch_order(epoch)[0][first : (start // WINDOW_SAMPLES + 2) * WINDOW_SAMPLES]
        ahead = start + READ_AHEAD_BATCHES * self.global_batch
        if ahead >= self.epoch_samples:
            return np.empty(0, np.int64)
        return self.local_batch(position - start + ahead).indices_B

    def epoch_indices(self, epoch: int) -> NDArray[np.int64]:
        """The samples of an epoch in order, all replicas together, without those that training drops."""
        return self._epoch_order(epoch)[0]

    def _epoch_order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sample indices in the epoch's order, and what augmentation is drawn for."""
        if self._order is None or (self._order[0] != epoch and self.training):
            indices = self._shuffled(epoch) if self.training else self._stored()
            repeats = self.training and self._drawn is not None and self._drawn.order is not None
            draws = _numbered(indices) if repeats else indices
            self._order = (epoch, indices[: self.epoch_samples], draws[: self.epoch_samples])
        return self._order[1:]

    def _stored(self) -> NDArray[np.int64]:
        if self._drawn is None or self._drawn.allowed is None:
            return np.arange(self.num_samples, dtype=np.int64)
        return self._drawn.allowed

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        if self._drawn is not None and self._drawn.order is not None:
            return self._drawn.order(self.seed, epoch)
        if self.order == "shards":
            assert self._first_sample_S is not None
            return shards_order(self.seed, epoch, self._first_sample_S)
        if self.order == "fixed":
            return np.arange(self.num_samples, dtype=np.int64)
        indices = (full_order if self.order == "full" else window_order)(self.seed, epoch, self.num_samples)
        return indices if self._drawn is None or self._drawn.allowed is None else self._drawn.allowed[indices]


def _numbered(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each index, with 2**40 added for each earlier occurrence."""
    by_index = np.argsort(indices, kind="stable")
    ordered = indices[by_index]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    times = np.arange(len(ordered)) - np.repeat(starts, np.diff(starts, append=len(ordered)))
    numbered = np.empty_like(indices)
    numbered[by_index] = ordered + (times << 40)
    return numbered


def report_mixing(schedule: Schedule) -> None:
    """Log how often an order of long reads puts stored neighbors into the same batch."""
    own = meetings(schedule.epoch_indices(0), schedule.global_batch)
    full = meetings(full_order(schedule.seed, 0, schedule.num_samples), schedule.global_batch)
    log.info(
        "%s order: %.1f %% of the samples share a batch with a stored neighbor, in full order %.1f %%",
        schedule.order,
        100 * own,
        100 * full,
    )
