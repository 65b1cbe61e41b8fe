"""The work of one worker on one shard: inputs to samples, their sums, and the reasons of what could not be stored."""

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError
from ..format.manifest import Quarantined
from ..format.pixel_options import PixelOptions
from ..format.shard import Sample, WrittenShard, index_path, write_shard
from ..format.stats import PixelSums
from ..sources.inputs import SourceImage
from ..workers import Heartbeat
from .plan import sample_key

if TYPE_CHECKING:
    from ..images.running_sums import RunningSums


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardJob:
    """One shard to write: inputs in stored order, the first of them at `first_position`."""

    path: Path
    number: int
    first_position: int
    images: Sequence[SourceImage]
    pixels: PixelOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """One finished shard; nothing was written when every one of its inputs was bad."""

    written: WrittenShard | None
    sums: PixelSums
    quarantined: tuple[Quarantined, ...]
    num_patched: int


@dataclass(kw_only=True, slots=True)
class Tally:
    """What a worker notes while it makes samples: `num_patched` were kept in spite of data the decoder patched over."""

    sums: "RunningSums"
    quarantined: list[Quarantined] = field(default_factory=list)
    num_patched: int = 0


def write_one_shard(job: ShardJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> ShardResult:
    """The work of one worker: write the shard, add up its pixels, keep the reasons of what could not be stored."""
    from ..images.running_sums import RunningSums

    tally = Tally(sums=RunningSums(job.pixels.size_px))
    written: WrittenShard | None = write_shard(
        job.path, samples_of(job, heartbeat, poisoned, tally), image_ext=job.pixels.image_ext
    )
    if written is not None and written.entry.num_samples == 0:
        job.path.unlink()
        index_path(job.path).unlink()
        written = None
    return ShardResult(
        written=written,
        sums=tally.sums.total(),
        quarantined=tuple(tally.quarantined),
        num_patched=tally.num_patched,
    )


def samples_of(job: ShardJob, heartbeat: Heartbeat, poisoned: dict[int, str], tally: Tally) -> Iterator[Sample]:
    """The samples of a job in order, noted in `tally`; bad inputs are noted and passed over."""
    from ..images.prepare import prepare_image
    from ..images.resize import use_one_thread
    from ..images.square import central_square

    use_one_thread()
    for i, image in enumerate(job.images):
        heartbeat(i)
        try:
            if i in poisoned:
                raise InputError(poisoned[i])
            data = image.read()
            with heartbeat.decoding():
                prepared = prepare_image(data, job.pixels)
        except InputError as error:
            tally.quarantined.append(Quarantined(source=image.name, reason=str(error)))
            continue
        except OSError as error:
            tally.quarantined.append(Quarantined(source=image.name, reason=f"cannot be read: {error.strerror}"))
            continue
        except MemoryError:
            if heartbeat.memory_is_short:
                reason = "a limit on address space (ulimit -v) leaves too little room to decode"
                raise OSError(errno.ENOMEM, reason, image.name) from None
            tally.quarantined.append(Quarantined(source=image.name, reason="needs more than 1 GiB of memory"))
            continue
        tally.sums.add(central_square(prepared.image_HWC))
        tally.num_patched += prepared.was_patched
        key = sample_key(job.first_position + i, image.name)
        yield Sample(key=key, image=prepared.encoded, label=image.label)
    heartbeat(len(job.images))
    heartbeat.writing()
