"""Damaged files rebuilt from the source to the same bytes, or left as they are."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ....errors import InputError
from ...format.files import sha256_of
from ...format.manifest import MANIFEST_NAME, QUARANTINE_NAME, STATISTICS_NAME, Manifest, write_quarantine
from ...format.sample_index import SAMPLE_INDEX_NAME, write_sample_index
from ...format.shard import ShardEntry, index_path
from ...format.shard_set import ShardSet
from ...format.source_table import SOURCES_NAME, source_lines, write_source_table
from ...format.stats import PixelSums
from ...sources.extras import origin_of
from ...sources.inputs import SourceSplit
from ...sources.recognize import Source
from ...storage import local_path
from ...workers import Engine, run_jobs_by
from ..kept_listing import WORK_FOLDER
from ..lock import exclusive_lock, remove_work
from ..options import BuildOptions
from ..shard_job import write_one_shard
from ..split_build import SplitBuild
from .verify_shard import Finding


def repair_set(
    folder: str | Path,
    source: Source,
    findings: Sequence[Finding],
    *,
    num_workers: int,
    on_progress: Callable[[int], None],
    engine: Engine = "local",
) -> list[str]:
    """Rebuild the files named in `findings`; returns their names.

    Files whose hash the manifest records are rebuilt in a work folder, compared with the manifest and only then moved
    into place. Raises InputError if the source is not the one this set was built from, if a rebuilt file differs from
    the manifest, and for a damaged manifest, which cannot be rebuilt.
    """
    folder = local_path(folder)
    manifest = Manifest.read(folder)
    damaged = {finding.file for finding in findings}
    split = _split_of(manifest, source, folder)
    options = BuildOptions(
        pixels=manifest.pixels,
        seed=manifest.seed,
        images_per_shard=manifest.images_per_shard,
        num_workers=num_workers,
        engine=engine,
    )
    known = {entry.name for entry in manifest.shards}
    strangers = sorted(name for name in damaged if name.endswith(".tar") and name not in known)
    if strangers:
        raise InputError(f"{folder / strangers[0]}: not in the manifest; move it out of this folder")
    entries = damaged_shards(manifest, findings)
    work = folder / WORK_FOLDER
    with exclusive_lock(work / "lock", doing="repairing shards"):
        try:
            sums = _make_again(work, split, options, entries, on_progress)
            if STATISTICS_NAME in damaged:
                sums.save(work / STATISTICS_NAME)
                found = sha256_of(work / STATISTICS_NAME)
                _refuse_other_bytes(folder / STATISTICS_NAME, found, manifest.statistics_sha256)
            for path in sorted(work.iterdir()):
                if path.name in damaged:
                    path.replace(folder / path.name)
            if SAMPLE_INDEX_NAME in damaged:
                shard_set = ShardSet(folder=folder, manifest=manifest)
                found = write_sample_index(work, (shard_set.rows(number) for number in range(len(manifest.shards))))
                _refuse_other_bytes(folder / SAMPLE_INDEX_NAME, found, manifest.index_sha256)
                (work / SAMPLE_INDEX_NAME).replace(folder / SAMPLE_INDEX_NAME)
            if QUARANTINE_NAME in damaged:
                write_quarantine(folder, manifest.quarantined)
            if SOURCES_NAME in damaged:
                _write_sources_again(work, folder, manifest, _build_of(work, split, options))
        finally:
            remove_work(work)
    return sorted(damaged)


def damaged_shards(manifest: Manifest, findings: Sequence[Finding]) -> list[ShardEntry]:
    """The shards to rebuild from the source: all of them if the statistics are damaged."""
    damaged = {finding.file for finding in findings}
    return [
        entry for entry in manifest.shards if {entry.name, index_path(Path(entry.name)).name, STATISTICS_NAME} & damaged
    ]


def _split_of(manifest: Manifest, source: Source, folder: Path) -> SourceSplit:
    for split in source.splits:
        if split.name == manifest.split and split.fingerprint() == manifest.source_sha256:
            return split
    raise InputError(
        f"{folder}: {source.description} is not the source of this {manifest.split} split: its files differ from those "
        "that were packed; pass the source it was built from"
    )


def _make_again(
    work: Path,
    split: SourceSplit,
    options: BuildOptions,
    entries: Sequence[ShardEntry],
    on_progress: Callable[[int], None],
) -> PixelSums:
    build = _build_of(work, split, options)
    plan = build.plan
    wanted = {entry.name: entry for entry in entries}
    numbers = [number for number in range(plan.num_shards) if plan.shard_name(number) in wanted]
    jobs = [(build.job(number, work), len(plan.positions(number))) for number in numbers]
    sums = PixelSums.zero(options.pixels.size_px)
    running = run_jobs_by(
        options.engine, write_one_shard, jobs, num_workers=options.num_workers, on_progress=on_progress
    )
    with closing(running) as results:
        for job, result in results:
            entry = wanted[job.path.name]
            made = result.written.entry if result.written else replace(entry, sha256="")
            _refuse_other_bytes(job.path, made.sha256, entry.sha256)
            _refuse_other_bytes(index_path(job.path), made.index_sha256, entry.index_sha256)
            sums += result.sums
    return sums


def _build_of(work: Path, split: SourceSplit, options: BuildOptions) -> SplitBuild:
    return SplitBuild(split=split, folder=work, parts=work, options=options, software={})


def _write_sources_again(work: Path, folder: Path, manifest: Manifest, build: SplitBuild) -> None:
    """Rebuild the source table: keys begin with the input's position in the plan's order."""

    def rows() -> Iterator[tuple[str, str]]:
        index = ShardSet(folder=folder, manifest=manifest).sample_index()
        for i in range(len(index)):
            key = index.key(i)
            image = build.split.images[int(build.order[int(key.partition("_")[0])])]
            yield key, origin_of(image, build.split.root)

    if write_source_table(work, (source_lines([row]) for row in rows())) != manifest.sources_sha256:
        raise InputError(
            f"{folder / SOURCES_NAME}: rebuilt, it differs from the manifest: SOURCE has the same images under other "
            "paths; pass it in its original layout"
        )
    (work / SOURCES_NAME).replace(folder / SOURCES_NAME)


def _refuse_other_bytes(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise InputError(
            f"{path.name}: rebuilt, it has SHA-256 {found[:12]}…, but the manifest says {expected[:12]}…; the "
            f"libraries differ from those in {MANIFEST_NAME}: install those versions, or shard the images again"
        )
