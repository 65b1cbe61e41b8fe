"""How many bytes and seconds a run will take, measured before it begins on a few hundred images across the source.

This pilot prepares its images as the run will and discards the results, so it changes nothing. Small sources, where the
pilot would add noticeable time, get none.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ..format.files import free_bytes
from ..format.pixel_options import PixelOptions
from ..format.shard import member_bytes
from ..sources.inputs import SourceSplit
from ..storage import StoreUrl
from ..workers import Heartbeat, KeptWorkers, run_jobs
from .shard_job import ShardJob, Tally, samples_of

PILOT_IMAGES = 256
MIN_IMAGES = 50 * PILOT_IMAGES  # the pilot is at most a fiftieth of the work
INDEX_BYTES = 120  # a sample's line in an index
MARGIN = 1.05  # sizes vary by half, so a pilot's average is off by a few percent


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """The approximate bytes on disk and seconds that preparing `num_images` images takes."""

    num_images: int
    num_bytes: int
    seconds: float
    largest_px: int = 0
    """The longest shorter side of the images tried; below the stored size, all of them will be enlarged."""


def measure(
    splits: Sequence[SourceSplit], pixels: PixelOptions, *, num_workers: int, kept: KeptWorkers | None = None
) -> Forecast | None:
    """The forecast for `splits`; None if they have fewer than `MIN_IMAGES` images.

    Its workers stay in `kept` for the run.
    """
    num_images = sum(len(split.images) for split in splits)
    if num_images < MIN_IMAGES:
        return None
    images = [image for split in splits for image in split.images[:: num_images // PILOT_IMAGES]]
    jobs = []
    for number in range(num_workers):
        part = images[number::num_workers]
        job = ShardJob(
            path=Path("pilot"), number=number, first_position=0, images=part, pixels=pixels, elsewhere=images
        )
        jobs.append((job, len(part)))
    running = run_jobs(_measure_some, jobs, num_workers=num_workers, on_progress=lambda done: None, kept=kept)
    with closing(running) as results:
        measured = [result for _, result in results if result.num_images]
    num_measured = sum(one.num_images for one in measured)
    # Each worker times itself, so that startup does not count.
    rate = sum(one.num_images / one.seconds for one in measured)
    return Forecast(
        num_images=num_images,
        num_bytes=num_images * sum(one.num_bytes for one in measured) // max(1, num_measured),
        seconds=num_images / max(rate, 1e-9),
        largest_px=max((one.largest_px for one in measured), default=0),
    )


def _measure_some(job: ShardJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> Forecast:
    """A worker's task: what `write_one_shard` does, without writing a shard."""
    from ..images.running_sums import RunningSums

    tally = Tally(sums=RunningSums(job.pixels.size_px))
    begin, num_bytes = time.monotonic(), 0
    for sample in samples_of(job, heartbeat, poisoned, tally):
        for ext, content in sample.members(job.pixels.image_ext):
            num_bytes += len(member_bytes(f"{sample.key}.{ext}", content, b""))
        num_bytes += INDEX_BYTES
    return Forecast(
        num_images=len(job.images), num_bytes=num_bytes, seconds=time.monotonic() - begin, largest_px=tally.largest_px
    )


def refuse_without_room(out: Path, forecast: Forecast) -> None:
    """InputError when the disk that `out` is, or will be, on has too little room for the forecast."""
    free = free_bytes(out)
    needed = round(forecast.num_bytes * MARGIN)
    if needed > free:
        raise InputError(
            f"{out}: {free / 1e9:.2f} GB free, but about {needed / 1e9:.2f} GB needed; make room, choose another "
            "--out, or store less with --quality or --size"
        )


def refuse_too_large_shards(
    url: StoreUrl, splits: Sequence[SourceSplit], forecast: Forecast, *, images_per_shard: int
) -> None:
    """InputError when a shard would be larger than the store of `url` accepts in one request."""
    num_images = min(images_per_shard, max(len(split.images) for split in splits))
    num_bytes = round(num_images * forecast.num_bytes / forecast.num_images * MARGIN)
    if num_bytes > url.max_put_bytes:
        fits = num_images * url.max_put_bytes // num_bytes
        raise InputError(
            f"{url}: shards of {num_images} images would be about {num_bytes / 1e9:.1f} GB each, but the store accepts "
            f"at most {url.max_put_bytes / 1e9:.1f} GB per request; set --images-per-shard to {fits} or less"
        )
