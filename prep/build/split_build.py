"""One split of a source to one shard set, shard by shard, resuming where an earlier run stopped."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cores import num_cores
from ...errors import InputError
from ..format.files import sha256_of
from ..format.manifest import MANIFEST_NAME, Manifest, Quarantined, complete_set
from ..format.sample_index import SampleRows
from ..format.shard import ShardEntry, index_path
from ..format.shard_set import ShardSet
from ..format.stats import ColorStatistics
from ..sources.class_tables import is_unlabeled
from ..sources.inputs import SourceImage, SourceSplit
from ..sources.reader import MAX_OTHERS
from ..workers import KeptWorkers
from .options import BuildOptions
from .part import PartJob, PartSummary, load_part, part_name
from .plan import ShardPlan
from .set_totals import SetTotals
from .shard_job import ShardJob, ShardResult
from .stores.shared_run import SharedSplit


@dataclass(frozen=True, kw_only=True)
class SplitBuild:
    """The build of one split: `begin` finds what is missing, `complete` makes the finished shards a set."""

    split: SourceSplit
    """The split to build."""
    folder: Path
    """Where the shard set goes."""
    parts: Path
    """The folder of the parts of finished shards."""
    options: BuildOptions
    """How to build."""
    software: dict[str, str]
    """Versions of the libraries that affect the stored pixels."""
    kept: KeptWorkers | None = None
    """Idle workers, shared by the splits of a run."""
    plan_sha256: str = ""
    """Hash of the plan of the whole run; parts of another plan are not used."""
    probe: str = ""
    """The result of `probe_digest` on the machine that made the plan."""
    source_sha256: str = ""
    """The fingerprint of `split` if already known; computing it visits every image."""
    shared: SharedSplit | None = None
    """For a run into a store, where shards and parts are; the local folders then hold copies of the small files."""

    def __post_init__(self) -> None:
        _ = self.plan  # refuses impossible options before anything is written

    @cached_property
    def plan(self) -> ShardPlan:
        """How the inputs are divided into shards."""
        return ShardPlan(
            split=self.split.name,
            num_images=len(self.split.images),
            seed=self.options.seed,
            images_per_shard=self.options.images_per_shard,
        )

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The inputs in stored order."""
        return self.plan.order()

    def is_complete(self) -> bool:
        """Whether the set is complete: in the store, for a run into one, else in its folder."""
        return self.shared.is_complete() if self.shared else (self.folder / MANIFEST_NAME).exists()

    def job(self, number: int, folder: Path) -> ShardJob:
        """The job that writes shard `number` into `folder`."""
        positions = self.plan.positions(number)
        return ShardJob(
            path=folder / self.plan.shard_name(number),
            number=number,
            first_position=positions.start,
            images=self.split.take(self.order[positions.start : positions.stop]),
            pixels=self.options.pixels,
            is_unlabeled=is_unlabeled(self.split),
            root=self.split.root,
            elsewhere=self._elsewhere,
        )

    @cached_property
    def _elsewhere(self) -> Sequence[SourceImage]:
        num_images = len(self.split.images)
        return self.split.take(np.unique(np.linspace(0, num_images - 1, min(num_images, MAX_OTHERS)).astype(np.int64)))

    def begin(self) -> "BegunSplit":
        """Find the missing shards of this part of the work; InputError if finished shards have too many bad inputs."""
        self.folder.mkdir(exist_ok=True)
        self.parts.mkdir(exist_ok=True)
        self.refresh(of_all=False)
        begun = BegunSplit(build=self)
        for number in range(self.plan.num_shards):
            result = self.load(number)
            if result is not None:
                begun.num_before += len(self.plan.positions(number))
                begun.count(PartSummary.of(result))
            elif self._is_ours(number):
                begun.jobs.append(self._part_job(number))
        begun.refuse_too_many_bad()
        return begun

    def num_finished(self) -> int:
        """How many shards are finished, by any process."""
        if self.shared is not None and (num_parts := self.shared.num_parts()) < self.plan.num_shards:
            return num_parts  # without copying the parts of other processes
        self.refresh()
        return sum(self.load(number, check=False) is not None for number in range(self.plan.num_shards))

    def refresh(self, *, of_all: bool = True) -> None:
        """Update what is known of the store; unless `of_all`, only for the shards of this part of the work."""
        if self.shared is not None:
            numbers = range(self.plan.num_shards)
            self.shared.refresh({part_name(number) for number in numbers if of_all or self._is_ours(number)})

    def _is_ours(self, number: int) -> bool:
        return self.options.part is None or number % self.options.part[1] == self.options.part[0]

    def _part_job(self, number: int) -> PartJob:
        return PartJob(
            shard=self.job(number, self.folder),
            parts=self.parts,
            plan_sha256=self.plan_sha256,
            probe=self.probe,
            destination=self.shared.destination if self.shared else None,
        )

    def load(self, number: int, *, check: bool = True) -> ShardResult | None:
        """The result of a finished shard; None unless its part is sound and its files exist with the right size.

        `check=False` skips the part's hash, which was verified before.
        """
        path = self.parts / part_name(number)
        if not path.exists():
            return None
        result = load_part(path, self.plan_sha256, check=check)
        if result is None:
            logging.getLogger(__name__).warning("%s: damaged or from another run; writing its shard again", path)
            path.unlink(missing_ok=True)
        if result and result.written:
            entry = result.written.entry
            if not (self.shared.is_there(entry) if self.shared else _is_there(self.folder, entry)):
                return None
        return result

    def _is_whole(self, entry: ShardEntry | None, e_tags: tuple[str, ...]) -> bool:
        """Whether shard and index have the bytes that were written; True if there is no shard."""
        if entry is None:
            return True
        if self.shared is not None:
            return self.shared.is_whole(entry, e_tags)
        shard = self.folder / entry.name
        return sha256_of(shard) == entry.sha256 and sha256_of(index_path(shard)) == entry.index_sha256

    def _results(self) -> Iterator[ShardResult]:
        """The results that `check` checked, loaded again."""
        for number in range(self.plan.num_shards):
            path = self.parts / part_name(number)
            yield self._there(number, load_part(path, self.plan_sha256, check=False) if path.exists() else None)

    def _there(self, number: int, result: ShardResult | None) -> ShardResult:
        if result is None:
            name = self.folder / self.plan.shard_name(number)
            raise InputError(f"{name}: removed or changed during the run; run the same command to write it again")
        return result

    def check(self) -> tuple[set[int], SetTotals]:
        """Mark shards whose bytes have changed since they were written as unfinished.

        Returns their numbers, and the totals of the others. Uses all cores: for a large set, one core would take as
        long to hash as many workers to write.
        """
        totals = SetTotals(self.options.pixels.size_px)

        def is_whole(number: int) -> bool:
            result = self._there(number, self.load(number))
            if not self._is_whole(result.written.entry if result.written else None, result.e_tags):
                return False
            totals.add(number, result)
            return True

        with ThreadPoolExecutor(1 if self.shared else num_cores()) as threads:
            whole = list(threads.map(is_whole, range(self.plan.num_shards)))
        changed = {number for number, one in enumerate(whole) if not one}
        for number in changed:
            (self.parts / part_name(number)).unlink(missing_ok=True)
            if self.shared is not None:
                self.shared.drop(part_name(number))
        return changed, totals

    def complete(self, totals: SetTotals) -> ShardSet:
        """Write the manifest and the files beside it; InputError for a split without any good image."""
        sums, quarantined = totals.sums, totals.quarantined
        if sums.num_images == 0:
            found = f", e.g. {quarantined[0].source}: {quarantined[0].reason}" if quarantined else ""
            raise InputError(
                f"{self.split.name}: none of {len(self.split.images)} inputs is a usable image{found}; check the source"
            )
        manifest = Manifest(
            split=self.split.name,
            seed=self.plan.seed,
            images_per_shard=self.plan.images_per_shard,
            pixels=self.options.pixels,
            software=self.software,
            classes=self.split.classes,
            shards=totals.shards,
            quarantined=quarantined,
            color=ColorStatistics.from_sums(sums),
            patched=totals.patched,
            warnings=totals.warnings,
            num_enlarged=totals.num_enlarged,
            originals=totals.originals,
            source_sha256=self.source_sha256 or self.split.fingerprint(),
        )
        manifest = complete_set(self.folder, manifest, sums, self._rows(), self._sources())
        if self.shared is not None:
            self.shared.complete()
        # Not ShardSet.open: files just written need not be read and checked.
        url = self.shared.destination.shards if self.shared else None
        return ShardSet(folder=self.folder, manifest=manifest, url=url)

    def _rows(self) -> Iterator[SampleRows]:
        return (result.written.rows for result in self._results() if result.written)

    def _sources(self) -> Iterator[bytes]:
        return (result.written.source_lines for result in self._results() if result.written)


@dataclass(kw_only=True)
class BegunSplit:
    """A split whose missing shards are being written, and its bad inputs so far."""

    build: SplitBuild
    """The split."""
    jobs: list[PartJob] = field(default_factory=list)
    """The shards to write."""
    num_before: int = 0
    """Inputs of the shards that were already finished."""
    num_bad: int = 0
    """Bad inputs of all shards finished so far."""
    first_bad: Quarantined | None = None
    """The first bad input."""
    num_added: int = 0
    """Jobs whose summaries have been counted."""

    @property
    def is_finished(self) -> bool:
        """Whether all its jobs are finished."""
        return self.num_added == len(self.jobs)

    @cached_property
    def num_missing(self) -> int:
        """Inputs of the shards to write."""
        return sum(len(job.shard.images) for job in self.jobs)

    def add(self, summary: PartSummary) -> None:
        """Record that a shard is finished; InputError for too many bad inputs."""
        self.count(summary)
        self.num_added += 1
        self.refuse_too_many_bad()

    def count(self, summary: PartSummary) -> None:
        """Count the bad inputs of a finished shard."""
        self.num_bad += summary.num_bad
        self.first_bad = self.first_bad or summary.first_bad

    def refuse_too_many_bad(self) -> None:
        """InputError for more bad inputs than the options allow."""
        split, first = self.build.split, self.first_bad
        limit = self.build.options.bad_limit(len(split.images))
        if first is not None and self.num_bad > limit:
            raise InputError(
                f"{split.name}: {self.num_bad} bad inputs of {len(split.images)}, at most {limit} allowed, e.g. "
                f"{first.source}: {first.reason}; check the source, or allow more with --max-bad"
            )


def _is_there(folder: Path, entry: ShardEntry) -> bool:
    shard = folder / entry.name
    return shard.is_file() and shard.stat().st_size == entry.num_bytes and index_path(shard).is_file()
