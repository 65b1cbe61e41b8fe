"""The record of one finished shard until its split is complete: a file of its own, written after the shard.

`OUT/.unfinished/SPLIT/NNNNN.part` is a line of JSON, with the manifest's entry and the quarantined inputs, followed by
plain arrays and text: the rows for `index.bin`, the lines for `sources.jsonl`, the exact sums. It ends with the SHA-256
of everything before it and names the plan it belongs to, so that a damaged file, or one from another run, is never
mistaken for a finished shard. Workers do as much as possible here, because a single process later reads all parts while
the workers are idle.
"""

import hashlib
import itertools
import json
import mmap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..format.files import whole_file
from ..format.manifest import Patched, Quarantined
from ..format.originals import Originals
from ..format.sample_index import SampleRows
from ..format.shard import ShardEntry, WrittenShard
from ..format.stats import PixelSums
from ..workers import Heartbeat
from .probe import refuse_other_probe
from .shard_job import ShardJob, ShardResult, write_one_shard
from .stores.scratch import hold
from .stores.shared_run import Destination, send_part, send_shard

_DIGEST_BYTES = 64
_LAYOUT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PartJob:
    """One shard to write, and where its part goes."""

    shard: ShardJob
    """The shard."""
    parts: Path
    """The folder of the parts."""
    plan_sha256: str
    """Hash of the plan that the part belongs to."""
    probe: str
    """The result of `probe_digest` on the machine that made the plan."""
    destination: Destination | None = None
    """For a run into a store, where both are sent; the folders are then scratch folders."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartSummary:
    """What the main process needs to know of a finished shard; everything else is in its part."""

    num_bad: int
    """Inputs that count against `max_bad`."""
    first_bad: Quarantined | None
    """The first of these inputs."""

    @classmethod
    def of(cls, result: ShardResult) -> "PartSummary":
        """The summary of a shard's result."""
        bad = result.bad
        return cls(num_bad=len(bad), first_bad=bad[0] if bad else None)


def write_part(job: PartJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> PartSummary:
    """A worker's task: write a shard, then its part. Repeating it, even concurrently, gives the same files.

    Raises InputError if this machine prepares the built-in image to different bytes than the machine that made the
    plan.
    """
    refuse_other_probe(job.shard.pixels, job.probe)
    if job.destination is not None:  # the folders may not exist yet on this machine
        hold(job.shard.path.parent.parent)
        job.shard.path.parent.mkdir(parents=True, exist_ok=True)
        job.parts.mkdir(parents=True, exist_ok=True)
    result = write_one_shard(job.shard, heartbeat, poisoned)
    save_part(job, result)
    return PartSummary.of(result)


def part_name(number: int) -> str:
    """`00012.part`."""
    return f"{number:05d}.part"


def save_part(job: PartJob, result: ShardResult) -> None:
    """Write the part of a finished shard; in a run into a store, send the shard, then the part."""
    written = result.written
    e_tags = send_shard(job.shard.path, job.destination) if written and job.destination else ()
    image_HWC = _narrow(result.sums.image_HWC)
    blocks = _blocks_of(written) if written else []
    blocks += [result.sums.outer_CC.tobytes(), image_HWC.tobytes()]
    about = {
        "layout": _LAYOUT,
        "plan_sha256": job.plan_sha256,
        "entry": asdict(written.entry) if written else None,
        "quarantined": [asdict(bad) for bad in result.quarantined],
        "patched": [asdict(one) for one in result.patched],
        "warnings": result.warnings,
        "num_enlarged": result.num_enlarged,
        "originals": asdict(result.originals),
        "e_tags": e_tags,
        "num_images": result.sums.num_images,
        "image_shape": image_HWC.shape,
        "image_type": image_HWC.dtype.str,
        "block_bytes": [len(block) for block in blocks],
    }
    content = b"".join([json.dumps(about).encode() + b"\n", *blocks])
    with whole_file(job.parts / part_name(job.shard.number)) as file:
        file.write(content)
        file.write(hashlib.sha256(content).hexdigest().encode())
    if job.destination is not None:
        send_part(job.parts / part_name(job.shard.number), job.destination)


def load_part(path: Path, plan_sha256: str, *, check: bool = True) -> ShardResult | None:
    """What `save_part` wrote for this plan; None when the file is damaged or belongs to another plan.

    The file is memory-mapped, so unused blocks are not read. `check=False` skips the hash, for files checked before.
    """
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        end = max(len(content) - _DIGEST_BYTES, 0)
        if check and hashlib.sha256(memoryview(content)[:end]).hexdigest().encode() != content[end:]:
            return None
        about = json.loads(content.readline())
        if about["plan_sha256"] != plan_sha256 or about["layout"] != _LAYOUT:
            return None
        bounds = itertools.accumulate(about["block_bytes"], initial=content.tell())
        blocks = [memoryview(content)[first:behind] for first, behind in itertools.pairwise(bounds)]
        return _result_of(about, blocks)
    except (ValueError, KeyError, TypeError):  # an empty file, another layout, or damage found without `check`
        return None


def _result_of(about: dict[str, Any], blocks: list[memoryview]) -> ShardResult:
    image_HWC = np.frombuffer(blocks.pop(), about["image_type"]).reshape(about["image_shape"])
    outer_CC = np.frombuffer(blocks.pop(), np.int64).reshape(3, 3)
    return ShardResult(
        written=_written(ShardEntry(**about["entry"]), blocks) if about["entry"] else None,
        sums=PixelSums(num_images=about["num_images"], image_HWC=image_HWC, outer_CC=outer_CC),
        quarantined=tuple(Quarantined(**bad) for bad in about["quarantined"]),
        patched=tuple(Patched(**one) for one in about["patched"]),
        warnings=about["warnings"],
        num_enlarged=about["num_enlarged"],
        originals=Originals(**about["originals"]),
        e_tags=tuple(about["e_tags"]),
    )


def _blocks_of(written: WrittenShard) -> list[bytes]:
    rows = written.rows
    columns = (rows.starts_N, rows.sizes_N, rows.labels_N, rows.checksums_N)
    return [*(column.tobytes() for column in columns), "\n".join(rows.keys).encode(), written.source_lines]


def _written(entry: ShardEntry, blocks: list[memoryview]) -> WrittenShard:
    starts, sizes, labels, checksums, keys, lines = blocks
    rows = SampleRows(
        starts_N=np.frombuffer(starts, np.int64),
        sizes_N=np.frombuffer(sizes, np.uint32),
        labels_N=np.frombuffer(labels, np.int32),
        checksums_N=np.frombuffer(checksums, np.uint32),
        keys=bytes(keys).decode().split("\n") if entry.num_samples else [],
    )
    return WrittenShard(entry=entry, rows=rows, source_lines=bytes(lines))


def _narrow(
    sums_HWC: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]",
) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """The sums as 32 bits if they fit, as they do up to 16 million images, to halve the size."""
    return sums_HWC.astype(np.uint32) if sums_HWC.max(initial=0) < 2**32 else sums_HWC
