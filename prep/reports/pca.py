"""Statistics of a finished shard set, recomputed from its stored pixels.

The fused statistics, computed while the shards were written, come from the pixels before encoding. For lossless formats
both are bit-identical; for JPEG with 4:2:0 chroma, means differ by a few hundredths of a gray level and standard
deviations by a few tenths.
"""

import mmap
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..format.files import naming
from ..format.pixel_options import PixelOptions
from ..format.sample_index import SampleIndex, SampleRows
from ..format.shard import ShardEntry, index_path, read_index
from ..format.shard_set import MEND, ShardSet
from ..format.stats import ColorStatistics, PixelSums
from ..workers import Engine, Heartbeat, run_jobs_by


@dataclass(frozen=True, kw_only=True, slots=True)
class SumJob:
    """One stored shard whose pixels to sum."""

    folder: Path
    """The shard set."""
    entry: ShardEntry
    """What the manifest says of the shard."""
    first_sample: int | None
    """The shard's first sample in `index.bin`; None for a set of format 2, which has no `index.bin`."""
    pixels: PixelOptions
    """How the set's images are stored."""

    def rows(self) -> SampleRows:
        """The shard's samples, from `index.bin` if there is one; `stored_sums` has checked its hash."""
        if self.first_sample is None:
            path = index_path(self.folder / self.entry.name)
            return read_index(path, shard_bytes=self.entry.num_bytes).rows()
        samples = SampleIndex.open(self.folder, check=False)
        return samples.rows(self.first_sample, self.first_sample + self.entry.num_samples)


@dataclass(frozen=True, kw_only=True, slots=True)
class ColorReport:
    """The statistics of the stored pixels beside the fused ones.

    `equal` tells whether all sums are the same; `max_mean_image_difference` is in gray levels.
    """

    stored: ColorStatistics
    fused: ColorStatistics
    equal: bool
    max_mean_image_difference: float

    def to_json(self) -> dict[str, Any]:
        """Both statistics in gray levels 0-255; those of the stored pixels also in 0-1 units."""
        return {
            "stored": self.stored.to_json() | units_0_1(self.stored),
            "fused": self.fused.to_json(),
            "equal": self.equal,
            "max_mean_image_difference_0_255": self.max_mean_image_difference,
        }


def units_0_1(color: ColorStatistics) -> dict[str, list[float]]:
    """Mean, eigenvalues and standard deviations for pixels divided by 255; eigenvectors do not change."""
    return {
        "mean_rgb_0_1": [value / 255 for value in color.mean_C],
        "eigenvalues_0_1": [value / 255**2 for value in color.eigenvalues_K],
        "standard_deviations_0_1": [value / 255 for value in color.standard_deviations_K],
    }


def report_colors(shard_set: ShardSet, stored: PixelSums) -> ColorReport:
    """Compare the sums of the stored pixels with those written with the shards."""
    fused = shard_set.sums()
    return ColorReport(
        stored=ColorStatistics.from_sums(stored),
        fused=ColorStatistics.from_sums(fused),
        equal=bool((stored.image_HWC == fused.image_HWC).all() and (stored.outer_CC == fused.outer_CC).all()),
        max_mean_image_difference=float(np.abs(stored.mean_image_HWC() - fused.mean_image_HWC()).max()),
    )


def stored_sums(
    shard_set: ShardSet, *, num_workers: int, on_progress: Callable[[int], None], engine: Engine = "local"
) -> PixelSums:
    """Decode every stored image and sum its pixels, on an engine.

    `on_progress` is called with the number of images done so far. Raises InputError naming shard, key and offset of an
    image that does not decode.
    """
    manifest = shard_set.manifest
    # With an index.bin, workers need not load the compiled loops that parse the shards' .idx files.
    firsts = [None] * len(manifest.shards)
    if manifest.index_sha256:
        firsts = shard_set.sample_index().first_S[:-1].tolist()  # the last entry is the number of all samples
    jobs = [
        (SumJob(folder=shard_set.folder, entry=shard, first_sample=first, pixels=manifest.pixels), shard.num_samples)
        for shard, first in zip(manifest.shards, firsts, strict=True)
    ]
    total = PixelSums.zero(manifest.pixels.size_px)
    running = run_jobs_by(engine, sum_one_shard, jobs, num_workers=num_workers, on_progress=on_progress)
    with closing(running) as results:
        for _, sums in results:
            total += sums
    return total


def sample_pixels(shard_set: ShardSet, *, num_images: int = 64, pixels_per_image: int = 64) -> NDArray[np.uint8]:
    """Regularly spaced stored pixels, uint8 (P, 3), for plots.

    Taken from the first shard that has images, since samples are shuffled; adopted shards may be empty.
    """
    from ..images.stored import decode_stored

    number, shard = next((i, one) for i, one in enumerate(shard_set.manifest.shards) if one.num_samples)
    if shard_set.manifest.index_sha256:
        rows = shard_set.sample_index().rows(0, min(num_images, shard.num_samples))
    else:
        rows = shard_set.rows(number, read_images=False)
    content = np.memmap(shard_set.folder / shard.name, np.uint8, "r")
    pixels = []
    for i in range(min(num_images, len(rows))):
        offset, size = int(rows.starts_N[i]), int(rows.sizes_N[i])
        image_HWC = decode_stored(content[offset : offset + size].tobytes(), shard_set.manifest.pixels)
        image_PC = image_HWC.reshape(-1, 3)
        # An odd step, so that the sample is not a single column of an image whose width is a power of two.
        pixels.append(image_PC[:: max(1, len(image_PC) // pixels_per_image) | 1])
    return np.concatenate(pixels)


def sum_one_shard(job: SumJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> PixelSums:
    """A worker's task."""
    from ..images.geometry import central_square
    from ..images.running_sums import RunningSums
    from ..images.stored import decode_stored

    path, rows = job.folder / job.entry.name, job.rows()
    sums = RunningSums(job.pixels.size_px)
    with naming(path), path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for i, key in enumerate(rows.keys):
            heartbeat(i)
            offset, size = int(rows.starts_N[i]), int(rows.sizes_N[i])
            try:
                if i in poisoned:
                    raise InputError(poisoned[i])
                data = content[offset : offset + size]
                with heartbeat.decoding():
                    image_HWC = decode_stored(data, job.pixels)
            except InputError as error:
                raise InputError(f"{path}: sample {key!r} at byte {offset}: {error}; {MEND}") from None
            sums.add(central_square(image_HWC))
    return sums.total()
