"""Which samples make up which batch: pure functions of one integer, the number of samples consumed.

Training walks through an order that differs from epoch to epoch and drops the tail that fills no global batch.
Evaluation walks through the stored order, every sample once, and pads the last batch. Replica r of R takes every R-th
sample of a global batch, so that the number of replicas never changes what a global batch is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .order import WINDOW_SAMPLES, Order, full_order, shards_order, window_order

READ_AHEAD_BATCHES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalBatch:
    """One replica's part of one global batch. All arrays have batch_size entries."""

    epoch: int
    """Counted from 0."""
    numbers_B: NDArray[np.int64]
    """Positions in the epoch's order."""
    indices_B: NDArray[np.int64]
    """Sample indices."""
    mask_B: NDArray[np.bool_]
    """False for padding, which repeats the last sample."""


class Schedule:
    """The epochs of one loader. Positions count samples consumed by all replicas since the start of epoch 0.

    `first_sample_S` says where shards start and, at its end, the number of samples; order "shards" needs it.
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
        first_sample_S: NDArray[np.int64] | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.global_batch = batch_size * num_replicas
        if training and num_samples < self.global_batch:
            raise InputError(
                f"{num_samples} samples fill no global batch of {self.global_batch} ({num_replicas} x {batch_size}); "
                f"choose batch_size <= {num_samples // num_replicas} (of a recipe: --set training.batch_size=...)"
            )
        self.num_samples = num_samples
        self.seed = seed
        self.order: str = order if training else "stored"
        self.training = training
        self.replica = replica
        self.num_replicas = num_replicas
        self._first_sample_S = first_sample_S
        self._order: tuple[int, NDArray[np.int64]] | None = None

    @property
    def epoch_samples(self) -> int:
        """Samples consumed by one epoch, all replicas together."""
        return self.num_samples // self.global_batch * self.global_batch if self.training else self.num_samples

    @property
    def num_batches(self) -> int:
        """Batches of one epoch, the same on every replica."""
        return -(-self.epoch_samples // self.global_batch)

    def after(self, position: int) -> int:
        """The position after the batch that starts at `position`."""
        return min(position + self.global_batch, (position // self.epoch_samples + 1) * self.epoch_samples)

    def local_batch(self, position: int) -> LocalBatch:
        """This replica's part of the global batch that starts at `position`."""
        epoch, start = divmod(position, self.epoch_samples)
        numbers = start + np.arange(self.replica, self.global_batch, self.num_replicas, dtype=np.int64)
        mask = numbers < self.epoch_samples
        numbers = np.minimum(numbers, self.epoch_samples - 1)
        indices = self.epoch_indices(epoch)[numbers] if self.training else numbers
        return LocalBatch(epoch=epoch, numbers_B=numbers, indices_B=indices, mask_B=mask)

    def read_ahead(self, position: int) -> NDArray[np.int64]:
        """Samples whose bytes should be on their way when the batch at `position` is started; may be none.

        In window order a whole window at a time, one window ahead; otherwise the replica's part of a batch to come.
        """
        epoch, start = divmod(position, self.epoch_samples)
        if self.order == "window":
            before = start - self.global_batch
            first = 0 if before < 0 else (before // WINDOW_SAMPLES + 2) * WINDOW_SAMPLES
            return self.epoch_indices(epoch)[first : (start // WINDOW_SAMPLES + 2) * WINDOW_SAMPLES]
        ahead = start + READ_AHEAD_BATCHES * self.global_batch
        if ahead >= self.epoch_samples:
            return np.empty(0, np.int64)
        return self.local_batch(position - start + ahead).indices_B

    def epoch_indices(self, epoch: int) -> NDArray[np.int64]:
        """The samples of an epoch in order, all replicas together, without the tail that training drops."""
        if not self.training:
            return np.arange(self.num_samples, dtype=np.int64)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self._shuffled(epoch)[: self.epoch_samples])
        return self._order[1]

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        if self.order == "shards":
            assert self._first_sample_S is not None
            return shards_order(self.seed, epoch, self._first_sample_S)
        return (full_order if self.order == "full" else window_order)(self.seed, epoch, self.num_samples)
