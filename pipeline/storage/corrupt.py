"""Corrupt stored images: found by their checksums before use, named and, on request, replaced."""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from ...errors import InputError
from ..epochs.schedule import LocalBatch
from .samples import Samples

log = logging.getLogger(__name__)

LEAST_BUDGET = 10


class CorruptSamples:
    """The corrupt images of a set that are known so far.

    A corrupt sample is replaced by the next intact one in stored order, so the replacement depends on the sample alone,
    not on batch, replica, threads or device. Rows replaced in an evaluation are masked out: it counts every sample
    once.

    Args:
        samples: The samples.
        budget: How many distinct corrupt samples may be replaced before `add` raises.
        allowed: The samples that a batch may contain, int64, increasing; None for all. Replacements are among them.
    """

    def __init__(self, samples: Samples, *, budget: int, allowed: "np.typing.NDArray[np.int64] | None" = None) -> None:
        self._samples = samples
        self._budget = budget
        self._allowed = allowed
        self._indices: set[int] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alexkit-checksums")

    def check(self, batch: LocalBatch) -> "Future[dict[int, str]]":
        """Verify a batch's checksums in a thread. The result maps corrupt samples to reasons; empty without checksums.

        The thread is also the first to touch the bytes, so that it waits for the disk instead of DALI.
        """
        return self._thread.submit(self._samples.check, batch.indices_B)

    def knows(self, indices: Iterable[int]) -> bool:
        """Whether all of these samples are already being replaced."""
        return self._indices.issuperset(indices)

    def add(self, reasons: dict[int, str]) -> None:
        """Replace these samples from now on. Raises InputError if the total exceeds the budget."""
        for index in sorted(reasons.keys() - self._indices):
            log.warning("%s: %s; another sample replaces it", self._samples.where(index), reasons[index])
            self._indices.add(index)
        if len(self._indices) > self._budget:
            raise InputError(
                f"{self._samples.where(max(reasons))}: {len(self._indices)} images are corrupt so far, more than the "
                f"{self._budget} that max_replaced allows; "
                "restore the shards with 'alexprep repair SHARDS SOURCE'"
            )

    def without(self, batch: LocalBatch, *, training: bool) -> tuple[LocalBatch, int]:
        """The batch with corrupt samples replaced, and the number of replaced rows. Raises what `add` raises."""
        if not self._indices:
            return batch, 0
        indices_B = batch.indices_B.copy()
        bad_B = np.isin(indices_B, list(self._indices))
        for row in np.flatnonzero(bad_B):
            indices_B[row] = self._replacement(int(indices_B[row]))
        return replace(batch, indices_B=indices_B, mask_B=batch.mask_B & (~bad_B | training)), int(bad_B.sum())

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _replacement(self, index: int) -> int:
        allowed = self._allowed
        at, size = (index, len(self._samples)) if allowed is None else (np.searchsorted(allowed, index), len(allowed))
        for step in range(1, size):
            candidate = int((at + step) % size)
            candidate = candidate if allowed is None else int(allowed[candidate])
            if candidate in self._indices:
                continue
            self._samples.bring(np.array([candidate]))
            corrupt = self._samples.check(np.array([candidate]))
            if corrupt:
                corrupt = self._samples.check_again(np.array([candidate]), corrupt)
            if not corrupt:
                return candidate
            self.add(corrupt)
        raise InputError(
            f"{self._samples.where(index)}: corrupt, as are all images that could replace it; restore the shards with "
            "'alexprep repair SHARDS SOURCE'"
        )


def find_undecodable(
    batches: Iterable[LocalBatch], decoding_error: Callable[[int], Exception | None]
) -> dict[int, str]:
    """The samples of these batches that do not decode on their own, with the reason in one line."""
    reasons = {}
    for index in sorted({index for batch in batches for index in batch.indices_B.tolist()}):
        if (error := decoding_error(index)) is not None:
            reasons[index] = f"it does not decode ({' '.join(str(error).split())[:300]})"
    return reasons
