"""Stored images that no longer decode: found after DALI gave up on a batch, named, and if asked for replaced."""

import logging
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ...errors import InputError
from ...prep.images.stored import decode_stored
from ..schedule import LocalBatch
from .samples import Samples

log = logging.getLogger(__name__)


class CorruptSamples:
    """The corrupt images of a set, as far as they are known.

    A corrupt sample is replaced by the next one in stored order that is not, so that the replacement depends neither on
    batch nor replica. Rows replaced in an evaluation are masked out: it counts every sample once.
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._indices: set[int] = set()

    def find(self, batches: Iterable[LocalBatch]) -> list[int]:
        """The samples of these batches that do not decode, in order."""
        return [index for batch in batches for index in batch.indices_B.tolist() if not self._decodes(index)]

    def add(self, indices: Iterable[int]) -> None:
        """Replace these from now on. Raises InputError when nothing is left."""
        for index in sorted(set(indices) - self._indices):
            log.warning("%s: does not decode; another sample replaces it", self._samples.where(index))
            self._indices.add(index)
        if len(self._indices) == len(self._samples):
            raise InputError(f"{self._samples.shard_set.folder}: no image decodes; restore the shards")

    def without(self, batch: LocalBatch, *, training: bool) -> tuple[LocalBatch, int]:
        """The batch with corrupt samples replaced, and how many rows that are."""
        if not self._indices:
            return batch, 0
        indices_B = batch.indices_B.copy()
        bad_B = np.isin(indices_B, list(self._indices))
        for row in np.flatnonzero(bad_B):
            while int(indices_B[row]) in self._indices:
                indices_B[row] = (indices_B[row] + 1) % len(self._samples)
        return replace(batch, indices_B=indices_B, mask_B=batch.mask_B & (~bad_B | training)), int(bad_B.sum())

    def _decodes(self, index: int) -> bool:
        try:
            decode_stored(self._samples.image(index).tobytes(), self._samples.shard_set.manifest.pixels)
        except ValueError:
            return False
        return True
