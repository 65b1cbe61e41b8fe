"""What is known of one finished shard until its split is complete: a file of its own, written after the shard.

`OUT/.unfinished/SPLIT/NNNNN.npz` holds the manifest's entry, the exact sums, the rows for `index.bin` and the
quarantined inputs, all arrays without pickles. It ends with the SHA-256 of what comes before it, and names the plan it
belongs to, so that a damaged file, or one of another run, is never mistaken for a finished shard.
"""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

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
from .stores.shared_run import Destination, send_part, send_shard

_DIGEST_BYTES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class PartJob:
    """One shard to write, and where its part goes."""

    shard: ShardJob
    """The shard."""
    parts: Path
    """The folder of the parts."""
    plan_sha256: str
    """The plan they belong to."""
    probe: str
    """What `probe_digest` gave where the plan was made."""
    destination: Destination | None = None
    """Where both are sent, for a run into a store; the folders are scratch then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartSummary:
    """What the process that counts needs to know of a finished shard; all else is in its part."""

    num_bad: int
    """Inputs that count against `max_bad`."""
    first_bad: Quarantined | None
    """The first of them."""

    @classmethod
    def of(cls, result: ShardResult) -> "PartSummary":
        """The summary of a result."""
        bad = result.bad
        return cls(num_bad=len(bad), first_bad=bad[0] if bad else None)


def write_part(job: PartJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> PartSummary:
    """The work of one worker: write a shard, then its part. Done twice, at once or again, it gives the same files.

    Raises InputError where this machine prepares an image to other bytes than the machine that made the plan.
    """
    refuse_other_probe(job.shard.pixels, job.probe)
    if job.destination is not None:  # another machine has not seen them yet
        job.shard.path.parent.mkdir(parents=True, exist_ok=True)
        job.parts.mkdir(parents=True, exist_ok=True)
    result = write_one_shard(job.shard, heartbeat, poisoned)
    save_part(job, result)
    return PartSummary.of(result)


def part_name(number: int) -> str:
    """`00012.npz`."""
    return f"{number:05d}.npz"


def save_part(job: PartJob, result: ShardResult) -> None:
    """Write what is known of a finished shard; in a run into a store, send the shard first."""
    written = result.written
    e_tags = send_shard(job.shard.path, job.destination) if written and job.destination else ()
    about = {
        "plan_sha256": job.plan_sha256,
        "entry": asdict(written.entry) if written else None,
        "quarantined": [asdict(bad) for bad in result.quarantined],
        "patched": [asdict(one) for one in result.patched],
        "warnings": result.warnings,
        "num_enlarged": result.num_enlarged,
        "originals": asdict(result.originals),
        "e_tags": e_tags,
        "num_images": result.sums.num_images,
        "keys": list(written.rows.keys) if written else [],
        "sources": list(written.sources) if written else [],
    }
    arrays = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "image_HWC": _narrow(result.sums.image_HWC),
        "outer_CC": result.sums.outer_CC,
    }
    if written:
        rows = written.rows
        arrays |= {
            "starts_N": rows.starts_N,
            "sizes_N": rows.sizes_N,
            "labels_N": rows.labels_N,
            "checksums_N": rows.checksums_N,
        }
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    with whole_file(job.parts / part_name(job.shard.number)) as file:
        file.write(content.getbuffer())
        file.write(hashlib.sha256(content.getbuffer()).hexdigest().encode())
    if job.destination is not None:
        send_part(job.parts / part_name(job.shard.number), job.destination)


def load_part(path: Path, plan_sha256: str, *, with_sums: bool = True) -> ShardResult | None:
    """What `save_part` wrote for that plan; None when the file is damaged or belongs to another plan.

    Without sums, nine tenths of the file are only hashed, and the result's sums hold no pixel.
    """
    content = path.read_bytes()
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    with np.load(io.BytesIO(body), allow_pickle=False) as data:
        about = json.loads(data["about"].tobytes())
        if about["plan_sha256"] != plan_sha256 or "sources" not in about:  # an earlier version noted less
            return None
        written = None
        if about["entry"]:
            rows = SampleRows(
                starts_N=data["starts_N"],
                sizes_N=data["sizes_N"],
                labels_N=data["labels_N"],
                checksums_N=data["checksums_N"],
                keys=about["keys"],
            )
            written = WrittenShard(entry=ShardEntry(**about["entry"]), rows=rows, sources=about["sources"])
        sums = PixelSums.zero(0)
        if with_sums:
            image_HWC, outer_CC = data["image_HWC"].astype(np.int64), data["outer_CC"]
            sums = PixelSums(num_images=about["num_images"], image_HWC=image_HWC, outer_CC=outer_CC)
        return ShardResult(
            written=written,
            sums=sums,
            quarantined=tuple(Quarantined(**bad) for bad in about["quarantined"]),
            patched=tuple(Patched(**one) for one in about["patched"]),
            warnings=about["warnings"],
            num_enlarged=about["num_enlarged"],
            originals=Originals(**about["originals"]),
            e_tags=tuple(about["e_tags"]),
        )


def _narrow(
    sums_HWC: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]",
) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """The sums in 32 bits where they fit, as they do for 16 million images: half the bytes."""
    return sums_HWC.astype(np.uint32) if sums_HWC.max(initial=0) < 2**32 else sums_HWC
