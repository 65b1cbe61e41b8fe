"""Shards to workers: whole shards, or pieces of them when there are too few shards to keep all workers busy.

The bytes are the same either way: a piece is a file beside the shard with the encoded images of some of its inputs, and
the shard is written from its pieces in order.
"""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ..format.files import PARTIAL_SUFFIX, whole_file
from ..format.originals import Originals
from ..format.shard import Sample
from ..format.stats import PixelSums
from ..workers import Heartbeat, KeptWorkers, run_jobs
from .part import PartJob, PartSummary, save_part, write_part
from .shard_job import ShardJob, ShardResult, Tally, samples_of, write_samples

# With fewer whole shards per worker, workers would be idle too long while the last shards are written.
_MIN_SHARDS_PER_WORKER = 4
_PIECES_PER_WORKER = 4
_MIN_IMAGES_PER_PIECE = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some prepared inputs of one shard; the samples are in the file that its job names."""

    num_samples: int
    about: ShardResult


def write_shards(
    jobs: Sequence[PartJob], *, num_workers: int, on_progress: Callable[[int], None], kept: KeptWorkers | None
) -> Generator[tuple[PartJob, PartSummary]]:
    """Write every shard and its part; yields jobs and summaries in order of completion.

    Args:
        jobs: the shards to write, of one or more splits, and where their parts go.
        num_workers: worker processes.
        on_progress: called with the number of inputs done so far.
        kept: supplies idle workers and receives them at the end.
    """
    if len(jobs) >= _MIN_SHARDS_PER_WORKER * num_workers or num_workers == 1:
        whole = [(job, len(job.shard.images)) for job in jobs]
        yield from run_jobs(write_part, whole, num_workers=num_workers, on_progress=on_progress, kept=kept)
        return
    parts = {job.shard.path: job for job in jobs}
    shards = [job.shard for job in jobs]
    with closing(_write_in_pieces(shards, num_workers=num_workers, on_progress=on_progress, kept=kept)) as written:
        for shard, result in written:
            job = parts[shard.path]
            save_part(job, result)
            yield job, PartSummary.of(result)


def _write_in_pieces(
    jobs: Sequence[ShardJob], *, num_workers: int, on_progress: Callable[[int], None], kept: KeptWorkers | None
) -> Generator[tuple[ShardJob, ShardResult]]:
    num_images = sum(len(job.images) for job in jobs)
    size = max(_MIN_IMAGES_PER_PIECE, -(-num_images // (_PIECES_PER_WORKER * num_workers)))
    token = uuid.uuid4().hex[:12]  # another process may be writing the same pieces
    pieces = [piece for job in jobs for piece in _pieces_of(job, size, token)]
    shards = {(job.path.parent, job.number): job for job in jobs}
    waiting = {shard: -(-len(job.images) // size) for shard, job in shards.items()}
    done: dict[tuple[Path, int], list[tuple[ShardJob, Piece]]] = {shard: [] for shard in shards}
    sized = [(piece, len(piece.images)) for piece in pieces]
    is_done = False
    results = run_jobs(_write_piece, sized, num_workers=num_workers, on_progress=on_progress, kept=kept)
    try:
        with closing(results):
            for piece_job, piece in results:
                shard = piece_job.path.parent, piece_job.number
                done[shard].append((piece_job, piece))
                if len(done[shard]) == waiting[shard]:
                    yield shards[shard], _assemble(shards[shard], done.pop(shard))
        is_done = True
    finally:
        for piece_job in pieces:
            piece_job.path.unlink(missing_ok=True)
        if not is_done:  # terminated workers leave partial files
            for path in {piece_job.path.parent for piece_job in pieces}:
                for begun in path.glob(f"*-{token}{PARTIAL_SUFFIX}.*"):
                    begun.unlink(missing_ok=True)


def _pieces_of(job: ShardJob, size: int, token: str) -> Iterator[ShardJob]:
    for begin in range(0, len(job.images), size):
        yield replace(
            job,
            path=job.path.with_name(f"{job.path.name}.{begin}-{token}{PARTIAL_SUFFIX}"),
            first_position=job.first_position + begin,
            images=job.images[begin : begin + size],
        )


def _write_piece(job: ShardJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> Piece:
    """A worker's task."""
    from ..images.running_sums import RunningSums

    tally = Tally(sums=RunningSums(job.pixels.size_px))
    num_samples = 0
    with whole_file(job.path) as file:
        for sample in samples_of(job, heartbeat, poisoned, tally):
            _write_sample(file, sample)
            num_samples += 1
    return Piece(num_samples=num_samples, about=tally.result(None))


def _assemble(job: ShardJob, pieces: list[tuple[ShardJob, Piece]]) -> ShardResult:
    pieces.sort(key=lambda pair: pair[0].first_position)
    written = write_samples(job, (sample for piece_job, piece in pieces for sample in _samples(piece_job.path, piece)))
    for piece_job, _ in pieces:
        piece_job.path.unlink()
    warnings: Counter[str] = Counter()
    sums = PixelSums.zero(job.pixels.size_px)
    for _, piece in pieces:
        warnings.update(piece.about.warnings)
        sums += piece.about.sums
    return ShardResult(
        written=written,
        sums=sums,
        quarantined=tuple(bad for _, piece in pieces for bad in piece.about.quarantined),
        patched=tuple(one for _, piece in pieces for one in piece.about.patched),
        warnings=dict(warnings),
        num_enlarged=sum(piece.about.num_enlarged for _, piece in pieces),
        originals=sum((piece.about.originals for _, piece in pieces), Originals()),
    )


def _write_sample(file: BinaryIO, sample: Sample) -> None:
    """Write a line of JSON that describes the sample, then its contents one after another."""
    extras = [(ext, len(content)) for ext, content in sample.extras]
    about = {
        "key": sample.key,
        "label": sample.label,
        "num_bytes": len(sample.image),
        "extras": extras,
        "source": sample.source,
    }
    file.write(json.dumps(about).encode() + b"\n")
    file.write(sample.image)
    for _, content in sample.extras:
        file.write(content)


def _samples(path: Path, piece: Piece) -> Iterator[Sample]:
    with path.open("rb") as file:
        for _ in range(piece.num_samples):
            about = json.loads(file.readline())
            image = file.read(about["num_bytes"])
            extras = tuple((ext, file.read(num_bytes)) for ext, num_bytes in about["extras"])
            yield Sample(key=about["key"], image=image, label=about["label"], extras=extras, source=about["source"])
