"""The shards of all splits of a run in one queue, so that no worker waits for a small split to finish."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

from ...errors import InputError
from ..format.files import remove_abandoned
from ..format.shard_set import ShardSet
from ..sources.inputs import SourceSplit
from ..workers import run_jobs_on_ray
from .part import PartJob, PartSummary, write_part
from .pieces import write_shards
from .split_build import BegunSplit, SplitBuild

OnProgress = Callable[[int, int], None]
"""`on_progress(inputs done, bad inputs)` of one split."""


def write_splits(builds: Sequence[SplitBuild], on_split: Callable[[SourceSplit], OnProgress]) -> None:
    """Write the missing shards of this part of the work, each followed by its `.part` file.

    Args:
        builds: splits of one run.
        on_split: called before a split first reports progress; returns the callback for that progress.

    Raises InputError for too many bad inputs; OSError from the disk.
    """
    begun = [build.begin() for build in builds]
    of_shard = {job.shard.path: one for one in begun for job in one.jobs}
    progress = _Progress(begun, on_split)
    with closing(_summaries(begun, progress.update)) as results:  # stops the workers even if we raise
        for job, summary in results:
            of_shard[job.shard.path].add(summary)
            progress.tell()


def finish_split(build: SplitBuild, on_progress: OnProgress) -> ShardSet:
    """Check all shards, rewrite those that have changed since they were written, and complete the set.

    Several processes may do this at once: all write the same bytes. Raises InputError for a split without any good
    image and for a shard that changes again.
    """
    changed, totals = build.check()
    if changed:
        write_splits([replace(build, options=replace(build.options, part=None))], lambda split: on_progress)
        build.refresh()
        again, totals = build.check()
        changed &= again
    if changed:
        name = build.folder / build.plan.shard_name(min(changed))
        raise InputError(
            f"{name}: changed twice after it was written; check whether another program writes to this folder, then "
            "run the same command to write it again"
        )
    shard_set = build.complete(totals)
    if build.shared is None:
        remove_abandoned(build.folder)
    return shard_set


def _summaries(
    begun: Sequence[BegunSplit], on_progress: Callable[[int], None]
) -> Generator[tuple[PartJob, PartSummary]]:
    """Run all jobs on the engine; yields summaries in order of completion."""
    jobs, build = [job for one in begun for job in one.jobs], begun[0].build
    num_workers = build.options.num_workers
    if build.options.engine == "local":
        yield from write_shards(jobs, num_workers=num_workers, on_progress=on_progress, kept=build.kept)
        return
    builds = {job.shard.path: one.build for one in begun for job in one.jobs}

    def look(job: PartJob) -> PartSummary | None:
        one = builds[job.shard.path]
        result = None if one.shared else one.load(job.shard.number)
        return None if result is None else PartSummary.of(result)

    sized = [(job, len(job.shard.images)) for job in jobs]
    yield from run_jobs_on_ray(write_part, sized, num_workers=num_workers, on_progress=on_progress, look=look)


class _Progress:
    """Credits finished inputs to the splits in order, which is also the order of the job queue.

    Which split a worker is on is unknown; each split ends with its true count before the next one reports progress.
    """

    def __init__(self, begun: Sequence[BegunSplit], on_split: Callable[[SourceSplit], OnProgress]) -> None:
        self._waiting = list(begun)
        self._on_split = on_split
        self._before = 0
        self._num_done = 0
        self._of_split: OnProgress | None = None

    def update(self, num_done: int) -> None:
        """`num_done` inputs of all splits together are done."""
        self._num_done = num_done
        self.tell()

    def tell(self) -> None:
        """Report the first unfinished split; a shard's bad inputs are known once its job is finished."""
        while self._waiting:
            split = self._waiting[0]
            here = min(self._num_done - self._before, split.num_missing)
            self._of_split = self._of_split or self._on_split(split.build.split)
            self._of_split(split.num_before + here, split.num_bad)
            if here < split.num_missing or not split.is_finished or len(self._waiting) == 1:
                return
            self._before += split.num_missing
            self._waiting.pop(0)
            self._of_split = None
