"""An overview of a shard set: counts by class, sizes, how well it is shuffled, and samples of every class."""

import io
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..format.sample_index import SampleIndex
from ..format.shard_set import ShardSet
from ..format.source_table import sources_at
from ..images.geometry import central_square
from ..images.stored import decode_stored
from .duplicates import stored_bytes

BATCH = 128
THUMBNAIL_PX = 96


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Survey:
    """A shard set and what its index alone reveals; only `thumbnail` reads images."""

    shard_set: ShardSet
    """The set."""
    index: SampleIndex
    """The set's samples."""
    counts_K: NDArray[np.int64]
    """Images of each class."""
    shown: tuple[tuple[int, ...], ...]
    """Indices of the samples to show, by class: the first few of each, a random choice since the set is shuffled."""
    distinct_mean: float
    """Mean number of distinct classes in a batch of consecutive samples."""
    distinct_ideal: float
    """The expected number of distinct classes after a perfect shuffle."""
    sources: dict[int, str]
    """Sources of the shown samples by index, if the set records them."""

    @property
    def split(self) -> str:
        """The set's split."""
        return self.shard_set.manifest.split

    def class_of(self, index: int) -> str:
        """The name of a sample's class."""
        return self.shard_set.manifest.classes[int(self.index.labels_N[index])].name

    def thumbnail(self, index: int) -> Image.Image:
        """The central square of one stored image, `THUMBNAIL_PX` wide."""
        image_HWC = decode_stored(stored_bytes(self.shard_set, index), self.shard_set.manifest.pixels)
        square = Image.fromarray(np.ascontiguousarray(central_square(image_HWC)))
        return square.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)


def survey_set(folder: Path, *, images_per_class: int = 6) -> Survey:
    """Read a set's index and choose up to `images_per_class` samples of every class.

    Raises InputError naming the file if the manifest or the index is damaged.
    """
    shard_set = ShardSet.open(folder)
    index = shard_set.sample_index()
    labels_N = np.asarray(index.labels_N, np.int64)
    counts_K = np.bincount(labels_N[labels_N >= 0], minlength=len(shard_set.manifest.classes))
    by_class = np.argsort(labels_N, kind="stable")
    firsts_K = np.searchsorted(labels_N[by_class], np.arange(len(counts_K)))
    mean, ideal = distinct_classes(labels_N, counts_K)
    shown = tuple(
        tuple(by_class[first : first + min(images_per_class, count)].tolist())
        for first, count in zip(firsts_K.tolist(), counts_K.tolist(), strict=True)
    )
    return Survey(
        shard_set=shard_set,
        index=index,
        counts_K=counts_K,
        shown=shown,
        distinct_mean=mean,
        distinct_ideal=ideal,
        sources=sources_at(shard_set.folder, list(chain.from_iterable(shown))),
    )


def distinct_classes(labels_N: NDArray[np.int64], counts_K: NDArray[np.int64]) -> tuple[float, float]:
    """Mean number of distinct classes in a batch of consecutive samples, and its expectation for a perfect shuffle.

    The expectation for n of N samples without replacement is the sum over classes of 1 - C(N - c, n) / C(N, n), where c
    is the number of samples in the class.
    """
    total = len(labels_N)
    batch = min(BATCH, total)
    starts = range(0, total - batch + 1, batch)
    mean = float(np.mean([len(np.unique(labels_N[start : start + batch])) for start in starts]))
    missing_K = np.ones(len(counts_K))
    for drawn in range(batch):
        missing_K *= np.maximum(total - counts_K - drawn, 0) / (total - drawn)
    return mean, float((1 - missing_K).sum())


def encoded(image: Image.Image) -> bytes:
    """A small image for the page, as a WebP file of a few kilobytes."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=72)
    return file.getvalue()
