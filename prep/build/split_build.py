"""One split of a source to one shard set, shard by shard, from wherever an earlier run stopped."""

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..format.files import remove_abandoned, sha256_of
from ..format.manifest import Manifest, Patched, Quarantined, complete_set
from ..format.originals import Originals
from ..format.sample_index import SampleRows
from ..format.shard import ShardEntry, index_path
from ..format.stats import ColorStatistics, PixelSums
from ..sources.inputs import SourceSplit
from ..workers import KeptWorkers, run_jobs_on_ray
from .options import BuildOptions
from .part import PartJob, PartSummary, load_part, part_name, write_part
from .pieces import write_shards
from .plan import ShardPlan
from .shard_job import ShardJob, ShardResult
from .stores.shared_run import SharedSplit

OnProgress = Callable[[int, int], None]
"""`on_progress(inputs done, inputs quarantined)` of the split that is being built."""


@dataclass(frozen=True, kw_only=True)
class SplitBuild:
    """The building of one split: `write` does what is missing, `finish` completes the set."""

    split: SourceSplit
    """What is built."""
    folder: Path
    """Where the shard set goes."""
    parts: Path
    """The folder of the parts of finished shards."""
    options: BuildOptions
    """How to build."""
    software: dict[str, str]
    """Versions of the libraries that shape a pixel."""
    kept: KeptWorkers | None = None
    """The workers that splits leave to each other."""
    plan_sha256: str = ""
    """Hash of the plan of the whole run; parts of another plan are not used."""
    probe: str = ""
    """What `probe_digest` gave where the plan was made."""
    shared: SharedSplit | None = None
    """Where shards and parts lie, for a run into a store; the folders hold copies of what is small then."""

    def __post_init__(self) -> None:
        _ = self.plan  # refuses impossible options before anything is written

    @cached_property
    def plan(self) -> ShardPlan:
        """How the inputs are dealt to shards."""
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

    def job(self, number: int, folder: Path) -> ShardJob:
        """The job that writes shard `number` into `folder`."""
        positions = self.plan.positions(number)
        return ShardJob(
            path=folder / self.plan.shard_name(number),
            number=number,
            first_position=positions.start,
            images=self.split.take(self.order[positions.start : positions.stop]),
            pixels=self.options.pixels,
        )

    def write(self, on_progress: OnProgress) -> None:
        """Write the shards of this part of the work that are missing; each is finished with its own file.

        Raises InputError for too many bad inputs; OSError from the disk.
        """
        self.folder.mkdir(exist_ok=True)
        self.parts.mkdir(exist_ok=True)
        self._refresh(of_all=False)
        num_bad = before = 0
        first_bad: Quarantined | None = None
        missing = []
        for number in range(self.plan.num_shards):
            result = self._load(number)
            if result is not None:
                before += len(self.plan.positions(number))
                num_bad += len(result.bad)
                first_bad = first_bad or next(iter(result.bad), None)
            elif self._is_ours(number):
                missing.append(number)
        self._refuse_too_many_bad(num_bad, first_bad)
        results = self._write_all(
            [self._part_job(number) for number in missing], lambda done: on_progress(before + done, num_bad)
        )
        with closing(results):  # stops the workers also when we raise
            for summary in results:
                first_bad = first_bad or summary.first_bad
                num_bad += summary.num_bad
                self._refuse_too_many_bad(num_bad, first_bad)

    def _write_all(self, jobs: list[PartJob], on_progress: Callable[[int], None]) -> Generator[PartSummary]:
        """Have the jobs done by the engine; summaries in the order of completion."""
        num_workers = self.options.num_workers
        if self.options.engine == "local":
            yield from write_shards(jobs, num_workers=num_workers, on_progress=on_progress, kept=self.kept)
            return

        def look(job: PartJob) -> PartSummary | None:
            result = None if self.shared else self._load(job.shard.number)
            return None if result is None else PartSummary.of(result)

        sized = [(job, len(job.shard.images)) for job in jobs]
        running = run_jobs_on_ray(write_part, sized, num_workers=num_workers, on_progress=on_progress, look=look)
        with closing(running) as results:
            for _, summary in results:
                yield summary

    def num_finished(self) -> int:
        """How many shards are finished, by whomever."""
        if self.shared is not None and (num_parts := self.shared.num_parts()) < self.plan.num_shards:
            return num_parts  # without copying those of all others
        self._refresh()
        return sum(self._load(number) is not None for number in range(self.plan.num_shards))

    def finish(self, on_progress: OnProgress) -> None:
        """Check all shards, write those again that changed since they were written, and write the manifest.

        Several processes may do so at once: all write the same bytes. Raises InputError for a split without any good
        image and for a shard that changes again.
        """
        if changed := self._remove_changed():
            replace(self, options=replace(self.options, part=None)).write(on_progress)
            self._refresh()
            changed &= self._remove_changed()
        if changed:
            name = self.folder / self.plan.shard_name(min(changed))
            raise InputError(
                f"{name}: changed after it was written, twice; does another program write there? The same command "
                "writes it again"
            )
        self._complete()
        if self.shared is not None:
            self.shared.complete()
        else:
            remove_abandoned(self.folder)

    def _refresh(self, *, of_all: bool = True) -> None:
        """Look again at what lies in the store; unless `of_all`, only at what this part of the work is about."""
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

    def _refuse_too_many_bad(self, num_bad: int, first: Quarantined | None) -> None:
        limit = self.options.bad_limit(len(self.split.images))
        if first is not None and num_bad > limit:
            raise InputError(
                f"{self.split.name}: {num_bad} bad inputs, more than {limit} of {len(self.split.images)}, e.g. "
                f"{first.source}: {first.reason}; check the source, or allow more with --max-bad"
            )

    def _load(self, number: int) -> ShardResult | None:
        """What is known of a shard that is finished: its part is sound and its files are there, at their size."""
        path = self.parts / part_name(number)
        if not path.exists():
            return None
        result = load_part(path, self.plan_sha256)
        if result is None:
            logging.getLogger(__name__).warning("%s: damaged or of another run; its shard is written again", path)
            path.unlink(missing_ok=True)
        if result and result.written:
            entry = result.written.entry
            if not (self.shared.is_there(entry) if self.shared else _is_there(self.folder, entry)):
                return None
        return result

    def _is_whole(self, result: ShardResult) -> bool:
        """Whether shard and index have the bytes that were written."""
        if result.written is None:
            return True
        entry = result.written.entry
        if self.shared is not None:
            return self.shared.is_whole(entry, result.e_tags)
        shard = self.folder / entry.name
        return sha256_of(shard) == entry.sha256 and sha256_of(index_path(shard)) == entry.index_sha256

    def _results(self) -> Iterator[ShardResult]:
        for number in range(self.plan.num_shards):
            result = self._load(number)
            if result is None:
                name = self.folder / self.plan.shard_name(number)
                raise InputError(
                    f"{name}: was removed or changed while the run went on; the same command writes it again"
                )
            yield result

    def _remove_changed(self) -> set[int]:
        """Take shards whose bytes are no longer those that were written out of the finished ones; their numbers."""
        changed = set()
        for number, result in enumerate(self._results()):
            if not self._is_whole(result):
                (self.parts / part_name(number)).unlink(missing_ok=True)
                if self.shared is not None:
                    self.shared.drop(part_name(number))
                changed.add(number)
        return changed

    def _complete(self) -> None:
        sums = PixelSums.zero(self.options.pixels.size_px)
        shards: list[ShardEntry] = []
        quarantined: list[Quarantined] = []
        patched: list[Patched] = []
        warnings: Counter[str] = Counter()
        num_enlarged, originals = 0, Originals()
        for result in self._results():
            sums += result.sums
            quarantined += result.quarantined
            patched += result.patched
            warnings.update(result.warnings)
            num_enlarged += result.num_enlarged
            originals += result.originals
            if result.written:
                shards.append(result.written.entry)
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
            shards=tuple(shards),
            quarantined=tuple(sorted(quarantined, key=lambda bad: bad.source)),
            color=ColorStatistics.from_sums(sums),
            patched=tuple(sorted(patched, key=lambda one: one.source)),
            warnings=dict(sorted(warnings.items())),
            num_enlarged=num_enlarged,
            originals=originals,
            source_sha256=self.split.fingerprint(),
        )
        complete_set(self.folder, manifest, sums, self._rows())

    def _rows(self) -> Iterator[SampleRows]:
        return (result.written.rows for result in self._results() if result.written)


def _is_there(folder: Path, entry: ShardEntry) -> bool:
    shard = folder / entry.name
    return shard.is_file() and shard.stat().st_size == entry.num_bytes and index_path(shard).is_file()
