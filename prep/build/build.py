"""A source to shard sets: the same bytes for any number of workers and any interruption.

`OUT/.unfinished/` holds the plan and the listing of the source, both made once, and one folder per split. For every
finished shard, that folder has a part, which the worker writes after the shard. A shard is finished when it is complete
on disk and its part exists; all others are written again. The process that finds all parts of a split checks that the
shards still have the bytes that were written, then writes the manifest. The last step removes `.unfinished`.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ...errors import InputError
from ...hub import CARD_NAME
from ..format.dataset_card import write_dataset_card
from ..format.files import create_once, no_writing, remove_abandoned
from ..format.manifest import MANIFEST_NAME, Manifest
from ..format.shard_set import SPLITS, ShardSet
from ..format.timm_info import TIMM_INFO_NAME, write_timm_info
from ..sources.inputs import SourceSplit
from ..sources.recognize import Source
from ..storage import local_path
from ..workers import KeptWorkers
from .forecast import Forecast, measure, refuse_too_large_shards, refuse_without_room
from .kept_listing import PLAN_NAME, WORK_FOLDER, keep_listing
from .lock import exclusive_lock, remove_work
from .options import BuildOptions as BuildOptions
from .plan import changed_lines
from .probe import probe_digest
from .split_build import SplitBuild
from .stores.shared_run import SharedRun
from .write_splits import OnProgress as OnProgress
from .write_splits import finish_split, write_splits


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltSplit:
    """A finished split, and whether it was already complete before this run."""

    shard_set: ShardSet
    already_complete: bool


def build_shards(
    source: Source,
    out: str | Path,
    options: BuildOptions,
    *,
    on_split: Callable[[SourceSplit], OnProgress] = lambda split: lambda done, num_bad: None,
    on_forecast: Callable[[Forecast], None] = lambda forecast: None,
    shared: SharedRun | None = None,
) -> list[BuiltSplit]:
    """Build every split of `source` under `out`, or resume an interrupted run.

    With `options.part`, write only that part of the shards, while other processes write the rest; the process that
    finds all shards finished completes the sets. Raises InputError if the output was built, or begun, with other
    options or another source, if the disk has too little room, if there are too many bad inputs, if this machine's
    libraries prepare images to different bytes than the machine that began the run, or if another process is working on
    all of `out`. Raises OSError from the disk. An error leaves only complete files at final names; a refusal creates no
    files.

    Args:
        source: what `open_source` found.
        out: the local folder that gets one folder per split; `alexprep shard` can write to a store.
        options: how to build.
        on_split: called before a split first reports progress; returns the callback for that progress.
        on_forecast: called before the work on a large source begins.
        shared: the run into a store, with `out` as its scratch folder, after `SharedRun.pull`.

    Returns the splits that are complete now: all of them, unless `options.part` leaves some to other processes.
    """
    from ..images.prepare import software_versions

    out = local_path(out)
    software = software_versions()
    work = out / WORK_FOLDER
    wanted = {split.name: split.fingerprint() for split in source.splits}
    now = _description_of_run(source, options, software, wanted)
    plan = json.dumps(now, indent=1, sort_keys=True).encode()
    with KeptWorkers() as kept:
        builds = [
            SplitBuild(
                split=split,
                folder=out / split.name,
                parts=work / split.name,
                options=options,
                software=software,
                kept=kept,
                plan_sha256=hashlib.sha256(plan).hexdigest(),
                probe=probe_digest(options.pixels),
                source_sha256=wanted[split.name],
                shared=shared.of_split(split.name) if shared else None,
            )
            for split in source.splits
        ]
        try:
            _refuse_what_does_not_fit(out, source, options, wanted, now)
            if not (work / PLAN_NAME).exists():
                new = [split for split in source.splits if not (out / split.name / MANIFEST_NAME).exists()]
                forecast = measure(new, options.pixels, num_workers=options.num_workers, kept=kept)
                if forecast is not None:
                    if shared is None:
                        refuse_without_room(out, forecast)
                    else:
                        refuse_too_large_shards(shared.url, new, forecast, images_per_shard=options.images_per_shard)
                    on_forecast(forecast)
        except InputError:
            if work.exists() and not (work / PLAN_NAME).exists():
                remove_work(work)  # a listing without a plan, from `source_of_part`
            raise
        if shared is None and _needs_nothing(out, builds):
            built = _build(builds, on_split)
            try:
                _describe(out, built)  # an older version may have written fewer files
            except OSError as error:
                if not no_writing(error):
                    raise
            return built
        work.mkdir(parents=True, exist_ok=True)
        # Parts of one run work at the same time without a lock: work that two of them repeat gives the same bytes.
        with nullcontext() if options.part else exclusive_lock(work / "lock", doing="writing shards"):
            if shared is not None and not (work / PLAN_NAME).exists():
                shared.refuse_strangers(wanted)
            is_new = create_once(work / PLAN_NAME, plan)
            if not (shared.settle_plan() if shared else is_new):
                # Check again, now that the plan is settled.
                _refuse_what_does_not_fit(out, source, options, wanted, now)
            built = _build(_with_kept_listing(builds, source, work, shared), on_split)
            if len(built) == len(builds):
                if shared is not None:
                    shared.pull_card()
                _describe(out, built)
                if shared is not None:
                    shared.finish()
                remove_work(work)
                for folder in (out, *(build.folder for build in builds)):
                    remove_abandoned(folder)
        return built


def _needs_nothing(out: Path, builds: list[SplitBuild]) -> bool:
    """Whether all sets are complete and there is nothing to remove, or `out` is read-only, as shared sets are."""
    complete = all(build.is_complete() for build in builds)
    return complete and (not (out / WORK_FOLDER).exists() or not os.access(out, os.W_OK))


def _describe(out: Path, built: list[BuiltSplit]) -> None:
    """Write timm's `_info.json` and the dataset card for all sets in `out`, unless they are up to date."""
    shard_sets = _all_sets(out, built)
    write_timm_info(out, shard_sets)
    write_dataset_card(out, shard_sets)


def _all_sets(out: Path, built: list[BuiltSplit]) -> list[ShardSet]:
    """The sets of this run and those that other runs put beside them: the descriptions in `out` cover all of them."""
    found = {one.shard_set.manifest.split: one.shard_set for one in built}
    for split in SPLITS:
        if split not in found and (out / split / MANIFEST_NAME).exists():
            try:
                shard_set = ShardSet.open(out / split)
                if shard_set.url is None:
                    shard_set.sample_index()  # a damaged set from another run must not end this one
                found[split] = shard_set
            except InputError as error:
                logging.getLogger(__name__).warning("%s; left out of %s and %s", error, CARD_NAME, TIMM_INFO_NAME)
    return [found[split] for split in SPLITS if split in found]


def _with_kept_listing(
    builds: list[SplitBuild], source: Source, work: Path, shared: SharedRun | None
) -> list[SplitBuild]:
    """The builds, with jobs that refer to the kept listing instead of containing their images."""
    if all((build.folder / MANIFEST_NAME).exists() for build in builds):
        return builds
    try:
        kept = {split.name: split for split in keep_listing(source, work).splits}
        if shared is not None:
            kept = {name: shared.share(split) for name, split in kept.items()}
    except OSError:
        if all(build.is_complete() for build in builds):
            return builds  # another process completed the sets in the meantime
        raise
    return [replace(build, split=kept[build.split.name]) for build in builds]


def _build(builds: list[SplitBuild], on_split: Callable[[SourceSplit], OnProgress]) -> list[BuiltSplit]:
    """Write the missing shards of all splits, or of this part of them, and complete the splits that have all shards."""
    before = {build.split.name for build in builds if (build.folder / MANIFEST_NAME).exists()}
    begun = [build for build in builds if build.split.name not in before]
    told: dict[str, OnProgress] = {}

    def start(split: SourceSplit) -> OnProgress:
        told[split.name] = on_split(split)
        return told[split.name]

    if begun:
        with _unless_complete(begun):
            write_splits(begun, start)
    built = []
    for build in builds:
        shard_set = None
        if build.split.name not in before:
            with _unless_complete([build]):
                if build.num_finished() >= build.plan.num_shards:
                    shard_set = finish_split(build, told.get(build.split.name, lambda done, num_bad: None))
                elif not build.is_complete():  # else another process completed it and removed the parts
                    continue
        built.append(
            BuiltSplit(shard_set=shard_set or ShardSet.open(build.folder), already_complete=build.split.name in before)
        )
    return built


@contextmanager
def _unless_complete(builds: list[SplitBuild]) -> Iterator[None]:
    """Suppress errors in the block if another process has completed the sets and removed what we were reading."""
    try:
        yield
    except (OSError, InputError):
        if not all(build.is_complete() for build in builds):
            raise


def _description(options: BuildOptions) -> dict[str, object]:
    return {**asdict(options.pixels), "seed": options.seed, "images_per_shard": options.images_per_shard}


def _description_of_run(
    source: Source, options: BuildOptions, software: dict[str, str], fingerprints: dict[str, str]
) -> dict[str, object]:
    now = _description(options) | {f"{name} version": version for name, version in software.items()}
    now["probe"] = probe_digest(options.pixels)
    for split in source.splits:
        now |= {f"{split.name} images of {name}": count for name, count in split.images_per_class().items()}
        now[f"{split.name} files"] = fingerprints[split.name]
    return now


def _refuse_what_does_not_fit(
    out: Path, source: Source, options: BuildOptions, fingerprints: dict[str, str], now: dict[str, object]
) -> None:
    """Refuse sets and unfinished runs that do not match, folders that are not ours, and a set inside a set."""
    if (out / MANIFEST_NAME).exists():
        raise InputError(f"{out}: is itself a shard set; use its parent folder, {out.parent}, or choose another --out")
    unfinished = out / WORK_FOLDER / PLAN_NAME
    for split in source.splits:
        folder = out / split.name
        if (folder / MANIFEST_NAME).exists():
            _refuse_other_set(folder, fingerprints[split.name], options)
        # In this order: another part of the run may begin while we check.
        elif folder.exists() and any(folder.iterdir()) and not unfinished.exists():
            raise InputError(
                f"{folder}: not empty, and neither a shard set nor an unfinished run; remove it or choose another --out"
            )
    try:
        before = json.loads(unfinished.read_bytes())
    except FileNotFoundError:
        return
    except ValueError:
        # Every part names the plan it belongs to, so nothing is lost.
        logging.getLogger(__name__).warning("%s: damaged; writing it again", unfinished)
        unfinished.unlink(missing_ok=True)
        return
    if not isinstance(before, dict):
        before = {}
    if changes := changed_lines(before, now):
        shown = "; ".join(changes[:4]) + (f"; and {len(changes) - 4} more" if len(changes) > 4 else "")
        raise InputError(
            f"{out}: contains an unfinished run that differs ({shown}); rerun its command, choose another --out, or "
            f"remove {out} and start over"
        )


def _refuse_other_set(folder: Path, fingerprint: str, options: BuildOptions) -> None:
    manifest = Manifest.read(folder)
    made = BuildOptions(pixels=manifest.pixels, seed=manifest.seed, images_per_shard=manifest.images_per_shard)
    before = {**_description(made), "source": manifest.source_sha256}
    now = {**_description(options), "source": fingerprint}
    if changes := changed_lines(before, now):
        raise InputError(
            f"{folder}: complete, but built differently ({'; '.join(changes)}); rerun the command that built it, or "
            "choose another --out"
        )
