"""The cost of the coordinating process with 16, 64 or 192 workers.

    python benchmarks/preparation/coordinator.py [--workers 16,64,192] [--rate 210] [--images-per-shard 1000]

Workers sleep as long as their images would take at `--rate` per second, and then link a finished shard and write its
part, so that a machine with few cores can run many of them. Everything else is as in `alexprep shard`: the listing is
stored in a file, the plan is made from it, shards are handed out, counted and reported, and the set is checked and
completed.

Printed are the CPU seconds of this one process: for starting the workers; per 1000 images while they work, and the
fraction of one core that this takes at the rate of all workers (goal: at most 30 %); and per 1000 images for the plan
and the end, during which no worker runs. The end is split into sequential work and the hashing of shards and their
parts, which threads on all cores share. The last column follows from these: the fraction of N workers' speed for a set
of 1,281,167 images on a machine with a core for each worker, which is the time of the work divided by the sum of the
work, the plan, the end and 1/N of the hashing (goal: 0.95).
"""

import argparse
import functools
import os
import pickle
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alexkit.prep.build.kept_listing import keep_listing
from alexkit.prep.build.options import BuildOptions
from alexkit.prep.build.part import PartJob, PartSummary, save_part
from alexkit.prep.build.shard_job import ShardResult
from alexkit.prep.build.split_build import SplitBuild
from alexkit.prep.build.write_splits import _Progress, finish_split
from alexkit.prep.format.manifest import ClassEntry
from alexkit.prep.format.shard import Sample, index_path, write_shard
from alexkit.prep.format.stats import PixelSums
from alexkit.prep.sources.columns.gathered import Gathered
from alexkit.prep.sources.inputs import FileImage, SourceSplit
from alexkit.prep.sources.recognize import Source
from alexkit.prep.workers import Heartbeat, KeptWorkers, run_jobs

IMAGENET_IMAGES = 1_281_167
HEARTBEATS_PER_S = 2.0  # enough for a progress line; each update wakes a sleeping process
RATE_NAME = "ALEXKIT_BENCHMARK_RATE"


def sleep_through(job: PartJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> PartSummary:
    """Replacement for `write_part`: take the time of the images, and leave a prepared shard and part."""
    num_images, rate = len(job.shard.images), float(os.environ[RATE_NAME])
    stride = max(int(rate / HEARTBEATS_PER_S), 1)
    for first in range(0, num_images, stride):
        heartbeat(first)
        time.sleep(min(stride, num_images - first) / rate)
    folder = job.parts.parent
    result = template(folder, num_images)
    assert result.written is not None
    entry = replace(result.written.entry, name=job.shard.path.name)
    for to, link in ((job.shard.path, "template.tar"), (index_path(job.shard.path), "template.idx")):
        to.unlink(missing_ok=True)
        os.link(folder / f"{num_images}-{link}", to)
    save_part(job, replace(result, written=replace(result.written, entry=entry)))
    return PartSummary.of(result)


@functools.cache
def template(folder: Path, num_images: int) -> ShardResult:
    """What `make_template` wrote for shards of this many images."""
    result: ShardResult = pickle.loads((folder / f"{num_images}.pickle").read_bytes())
    return result


def make_template(folder: Path, num_images: int, num_bytes: int) -> None:
    """A shard of `num_images` images of `num_bytes` noise, and what a worker would report about it."""
    rng = np.random.default_rng(0)
    samples = [
        Sample(key=f"{i:09d}-a-{i}", image=rng.bytes(num_bytes), label=0, source=f"train/a/{i}.jpg")
        for i in range(num_images)
    ]
    tar = folder / f"{num_images}-template.tar"
    written = write_shard(tar, samples, image_ext="jpg")
    index_path(tar).rename(folder / f"{num_images}-template.idx")
    one = PixelSums.of(rng.integers(0, 256, (256, 256, 3), np.uint8))
    sums = PixelSums(num_images=num_images, image_HWC=one.image_HWC * num_images, outer_CC=one.outer_CC * num_images)
    (folder / f"{num_images}.pickle").write_bytes(pickle.dumps(ShardResult(written=written, sums=sums)))


class Costs(NamedTuple):
    """CPU seconds of the coordinating process, and how many images were handed out."""

    starting: float
    working: float
    images: int
    """Images of the shards that came back while `working` was counted."""
    plan: float
    end: float
    """Of the thread that completes the set."""
    hashing: float
    """Of the threads that hash at the same time."""
    all_images: int


def measure(folder: Path, num_workers: int, arguments: argparse.Namespace) -> Costs:
    """Prepare, with sleeping workers, enough shards to keep each of them busy for `--rounds` shards."""
    per_shard = arguments.images_per_shard
    num_images = per_shard * num_workers * arguments.rounds
    images = (FileImage(f"a/{i}.jpg", 0, f"/photographs/a/{i}.jpg", arguments.image_bytes) for i in range(num_images))
    listed = Gathered().extend(images).images()
    split = SourceSplit(name="train", classes=(ClassEntry(index=0, id="a", name="a"),), images=listed)
    work, out = folder / ".unfinished", folder / "train"
    work.mkdir()
    make_template(work, per_shard, arguments.image_bytes)
    (split,) = keep_listing(Source(description="", splits=(split,)), work).splits
    del listed
    with KeptWorkers() as kept:
        begun_at = time.process_time()
        build = SplitBuild(
            split=split,
            folder=out,
            parts=work / "train",
            options=BuildOptions(num_workers=num_workers, images_per_shard=per_shard),
            software={},
            kept=kept,
            plan_sha256="0" * 64,
            source_sha256=replace(split, known=None).fingerprint(),  # computed while listing, but not in a worker
        )
        begun = build.begin()
        planned_at = first_at = last_at = time.process_time()
        num_back = 0
        for num_back, last_at in enumerate(_answers(begun, kept, num_workers)):
            if num_back == 0:
                first_at = last_at
        ended_at, all_ended_at = time.thread_time(), time.process_time()
        finish_split(build, lambda done, num_bad: None)
        end = time.thread_time() - ended_at
        hashing = time.process_time() - all_ended_at - end
    return Costs(
        starting=first_at - planned_at,
        working=last_at - first_at,
        images=num_back * per_shard,
        plan=planned_at - begun_at,
        end=end,
        hashing=hashing,
        all_images=num_images,
    )


def _answers(begun: "object", kept: KeptWorkers, num_workers: int) -> Iterator[float]:
    """This process's CPU time at every result."""
    from alexkit.prep.build.split_build import BegunSplit

    assert isinstance(begun, BegunSplit)
    told = _Progress([begun], lambda split: lambda done, num_bad: None)
    sized = [(job, len(job.shard.images)) for job in begun.jobs]
    for _, summary in run_jobs(sleep_through, sized, num_workers=num_workers, on_progress=told.update, kept=kept):
        begun.add(summary)
        yield time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="16,64,192")
    parser.add_argument("--rate", type=float, default=210.0, help="images/s of one worker")
    parser.add_argument("--rounds", type=int, default=3, help="shards for each worker")
    parser.add_argument("--images-per-shard", type=int, default=1000)
    parser.add_argument("--image-bytes", type=int, default=26_000)
    arguments = parser.parse_args()
    os.environ[RATE_NAME] = str(arguments.rate)
    print("         starting  handing out, ms  of one  ms per 1000 images:         of N workers'")
    print("workers  s         per 1000 images  core    plan      end       hashing   speed")
    for num_workers in map(int, arguments.workers.split(",")):
        with tempfile.TemporaryDirectory() as name:
            costs = measure(Path(name), num_workers, arguments)
        rate = num_workers * arguments.rate
        share = costs.working / max(costs.images, 1) * rate
        serial = (costs.plan + costs.end + costs.hashing / num_workers) / costs.all_images
        speed = 1 / (1 + serial * rate) if rate else 0.0
        print(
            f"{num_workers:7}  {costs.starting:8.2f}  {1e6 * costs.working / max(costs.images, 1):15.2f}"
            f"  {share:6.1%}"
            + "".join(f"  {1e6 * part / costs.all_images:8.2f}" for part in (costs.plan, costs.end, costs.hashing))
            + f"  {speed:8.2f} of {IMAGENET_IMAGES / rate:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
