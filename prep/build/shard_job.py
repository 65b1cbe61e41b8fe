"""A worker's task for one shard: inputs to samples, their pixel sums, and why any input could not be stored."""

import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError
from ..format.manifest import Patched, Quarantined, valid_text
from ..format.originals import Originals, OriginalsTally
from ..format.pixel_options import PixelOptions
from ..format.sample_index import NO_LABEL
from ..format.shard import MAX_NAME_BYTES, Sample, WrittenShard, index_path, write_shard
from ..format.stats import PixelSums
from ..sources.extras import origin_of
from ..sources.folders.read_ahead import read_in_order
from ..sources.inputs import SourceImage
from ..sources.reader import Reader
from ..workers import Heartbeat
from .plan import sample_key

if TYPE_CHECKING:
    from ..images.prepare import Prepared
    from ..images.running_sums import RunningSums

MAX_REASON = 300  # characters kept of an unexpected exception


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardJob:
    """One shard to write: inputs in stored order, the first at `first_position`."""

    path: Path
    """The tar to write."""
    number: int
    """The shard's number in its split."""
    first_position: int
    """Position of its first input in the split's stored order; keys begin with the input's position."""
    images: Sequence[SourceImage]
    """Its inputs."""
    pixels: PixelOptions
    """How the images are stored."""
    is_unlabeled: bool = False
    """Whether the inputs have no labels; -1 is stored instead."""
    root: str = ""
    """The folder or URL that recorded source paths are relative to."""
    elsewhere: Sequence[SourceImage] = ()
    """Some inputs of the whole split; see `Reader`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """One finished shard; nothing was written if all of its inputs were bad."""

    written: WrittenShard | None
    """The shard's entry and rows."""
    sums: PixelSums
    """Exact statistics of its images."""
    quarantined: tuple[Quarantined, ...] = ()
    """Inputs that were not stored."""
    patched: tuple[Patched, ...] = ()
    """Damaged images that were stored as the decoder patched them."""
    warnings: dict[str, int] = field(default_factory=dict)
    """Warnings about images that were kept, with the number of images for each."""
    num_enlarged: int = 0
    """Images that were enlarged: their shorter side was below the stored size."""
    originals: Originals = field(default_factory=Originals)
    """Sizes and aspect ratios of the source images."""
    e_tags: tuple[str, ...] = ()
    """ETags of shard and index in a store that reports them."""

    @property
    def bad(self) -> tuple[Quarantined, ...]:
        """Inputs that count against `max_bad`: those not stored, and those stored patched."""
        reason = "damaged, kept by --lenient with {:.0%} of its rows decoded"
        kept = (Quarantined(source=one.source, reason=reason.format(one.decoded_rows)) for one in self.patched)
        return (*self.quarantined, *kept)


@dataclass(kw_only=True, slots=True)
class Tally:
    """A worker's running record while it makes samples; the fields are those of `ShardResult`, but one."""

    sums: "RunningSums"
    quarantined: list[Quarantined] = field(default_factory=list)
    patched: list[Patched] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    num_enlarged: int = 0
    originals: OriginalsTally = field(default_factory=OriginalsTally)
    largest_px: int = 0
    """The longest shorter side of a source image, for forecasts."""

    def note(self, name: str, prepared: "Prepared") -> None:
        """Record a stored image."""
        from ..images.geometry import central_square

        self.sums.add(central_square(prepared.image_HWC))
        self.warnings.update(prepared.warnings)
        self.num_enlarged += prepared.was_enlarged
        self.originals.add(prepared.original_hw)
        self.largest_px = max(self.largest_px, min(prepared.original_hw))
        if prepared.was_patched:
            self.patched.append(Patched(source=valid_text(name), decoded_rows=round(prepared.decoded_rows, 4)))

    def result(self, written: WrittenShard | None) -> ShardResult:
        """The result of the shard whose images were recorded."""
        return ShardResult(
            written=written,
            sums=self.sums.total(),
            quarantined=tuple(self.quarantined),
            patched=tuple(self.patched),
            warnings=dict(self.warnings),
            num_enlarged=self.num_enlarged,
            originals=self.originals.total(),
        )


def write_one_shard(job: ShardJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> ShardResult:
    """A worker's task: write the shard, sum its pixels, and record why any input could not be stored."""
    from ..images.running_sums import RunningSums

    tally = Tally(sums=RunningSums(job.pixels.size_px))
    return tally.result(write_samples(job, samples_of(job, heartbeat, poisoned, tally)))


def write_samples(job: ShardJob, samples: Iterable[Sample]) -> WrittenShard | None:
    """Write the shard of a job; None, and no file, when it has no samples."""
    written = write_shard(job.path, samples, image_ext=job.pixels.image_ext)
    if written.entry.num_samples == 0:
        # Another process may be doing the same job.
        job.path.unlink(missing_ok=True)
        index_path(job.path).unlink(missing_ok=True)
        return None
    return written


def samples_of(job: ShardJob, heartbeat: Heartbeat, poisoned: dict[int, str], tally: Tally) -> Iterator[Sample]:
    """The samples of a job in order, recorded in `tally`; bad inputs are recorded and skipped.

    Raises OSError when the source fails, which is not an image's fault.
    """
    from ..images.prepare import decode_options
    from ..images.resize import use_one_thread

    use_one_thread()
    memory_bytes, images = decode_options(job.pixels).memory_bytes, list(job.images)
    reader = Reader(images, job.elsewhere)

    def read(image: SourceImage) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
        return reader.read(image), tuple((extra.ext, reader.read(extra)) for extra in image.extras)

    for i, (image, content) in enumerate(read_in_order(images, read)):
        heartbeat(i)
        try:
            if i in poisoned:
                raise InputError(poisoned[i])
            data, extras = content()
            with heartbeat.decoding(memory_bytes=memory_bytes):
                prepared = _prepare(data, job.pixels)
        except InputError as error:
            tally.quarantined.append(Quarantined(source=valid_text(image.name), reason=valid_text(str(error))))
            continue
        except MemoryError:
            if heartbeat.memory_is_short:
                reason = "the limit on address space (ulimit -v) leaves too little memory to decode"
                raise OSError(errno.ENOMEM, reason, image.name) from None
            reason = f"decoding takes more than {memory_bytes >> 20} MiB of memory"
            tally.quarantined.append(Quarantined(source=valid_text(image.name), reason=reason))
            continue
        tally.note(image.name, prepared)
        key = sample_key(job.first_position + i, image.name)
        key = key[: MAX_NAME_BYTES - 1 - max((len(ext) for ext, _ in extras), default=0)]
        source = origin_of(image, job.root)
        label = NO_LABEL if job.is_unlabeled else image.label
        yield Sample(key=key, image=prepared.encoded, label=label, extras=extras, source=source)
    heartbeat(len(job.images))
    heartbeat.writing()


def _prepare(data: bytes, pixels: PixelOptions) -> "Prepared":
    """`prepare_image`, with InputError also for unexpected exceptions, so that one image does not end a long run.

    OSError with an errno, ImportError and MemoryError concern this machine, not the image, and are raised unchanged.
    """
    from ..images.prepare import prepare_image

    try:
        return prepare_image(data, pixels)
    except (InputError, ImportError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        found = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON]
        raise InputError(f"{found}; this error is unexpected: report it as an alexkit bug") from error
