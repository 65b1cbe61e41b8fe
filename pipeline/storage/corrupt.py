"""Corrupt stored images: found by their checksums before they are used, named, and if asked for replaced."""

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
    """The corrupt images of a set, as far as they are known.

    A corrupt sample is replaced by the next sound one in stored order, so that the replacement depends on the sample
    alone, not on batch, replica, threads or device. Rows replaced in an evaluation are masked out: it counts every
    sample once.

    Args:
        samples: The samples.
        budget: How many distinct corrupt samples are replaced before `add` refuses.
        allowed: Which samples may come in a batch, int64, increasing; None for all. A replacement is one of them.
    """

    def __init__(self, samples: Samples, *, budget: int, allowed: "np.typing.NDArray[np.int64] | None" = None) -> None:
        self._samples = samples
        self._budget = budget
        self._allowed = allowed
        self._indices: set[int] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alexkit-checksums")

    def check(self, batch: LocalBatch) -> "Future[dict[int, str]]":
        """Compare the checksums of a batch in a thread: what is wrong, by sample; nothing without checksums.

        The thread is also the first to touch the bytes, so that it, and not DALI, waits for the disk.
        """
        return self._thread.submit(self._samples.check, batch.indices_B)

    def knows(self, indices: Iterable[int]) -> bool:
        """Whether all of these are replaced already."""
        return self._indices.issuperset(indices)

    def add(self, reasons: dict[int, str]) -> None:
        """Replace these from now on. Raises InputError when there are more than the budget."""
        for index in sorted(reasons.keys() - self._indices):
            log.warning("%s: %s; another sample replaces it", self._samples.where(index), reasons[index])
            self._indices.add(index)
        if len(self._indices) > self._budget:
            raise InputError(
                f"{self._samples.where(max(reasons))}: {len(self._indices)} images are corrupt by now, more than the "
                f"{self._budget} that max_replaced allows; "
                "restore the shards: 'alexprep repair SHARDS SOURCE'"
            )

    def without(self, batch: LocalBatch, *, training: bool) -> tuple[LocalBatch, int]:
        """The batch with corrupt samples replaced, and how many rows that are. Raises what `add` raises."""
        if not self._indices:
            return batch, 0
        indices_B = batch.indices_B.copy()
        bad_B = np.isin(indices_B, list(self._indices))
        for row in np.flatnonzero(bad_B):
            indices_B[row] = self._replacement(int(indices_B[row]))
        return replace(batch, indices_B=indices_B, mask_B=batch.mask_B & (~bad_B | training)), int(bad_B.sum())

    def close(self) -> None:
        """End the thread."""
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
            f"{self._samples.where(index)}: corrupt, as are all images that could replace it; 'alexprep repair SHARDS "
            "SOURCE' makes them again"
        )


def find_undecodable(
    batches: Iterable[LocalBatch], decoding_error: Callable[[int], Exception | None]
) -> dict[int, str]:
    """The samples of these batches that do not decode by themselves, with the reason in one line."""
    reasons = {}
    for index in sorted({index for batch in batches for index in batch.indices_B.tolist()}):
        if (error := decoding_error(index)) is not None:
            reasons[index] = f"it does not decode ({' '.join(str(error).split())[:300]})"
    return reasons
