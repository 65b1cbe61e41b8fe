"""A source to shard sets: the same bytes for any number of workers and any interruption.

`OUT/.unfinished/` holds the lock, the plan and, per split, a folder with one part for every finished shard. A shard is
finished when it is whole on disk and its part is there; what is not is done again. The manifest of a split is written
when all its shards are there and have the bytes that were written; the last act removes `.unfinished`.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import InputError
from ..format.files import whole_file
from ..format.manifest import MANIFEST_NAME, Manifest
from ..format.shard_set import ShardSet
from ..sources.inputs import SourceSplit
from ..sources.recognize import Source
from .forecast import Forecast, measure, refuse_without_room
from .lock import exclusive_lock
from .options import BuildOptions as BuildOptions
from .plan import changed_lines
from .split_build import OnProgress as OnProgress
from .split_build import SplitBuild

WORK_FOLDER = ".unfinished"
PLAN_NAME = "plan.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltSplit:
    """A finished split, and whether it was there before."""

    shard_set: ShardSet
    already_complete: bool


def build_shards(
    source: Source,
    out: Path,
    options: BuildOptions,
    *,
    on_split: Callable[[SourceSplit], OnProgress] = lambda split: lambda done, num_bad: None,
    on_forecast: Callable[[Forecast], None] = lambda forecast: None,
) -> list[BuiltSplit]:
    """Build every split of `source` under `out`, or continue where an interrupted run stopped.

    `on_split` is called before a split is built and returns where its progress goes; `on_forecast` before a large
    source is begun. Raises InputError for an output that was made, or begun, with other options or another source, for
    a disk without room for it, for too many bad inputs, and when another process works on `out`; OSError from the disk.
    All leave only complete files at final names; a refusal leaves nothing new.
    """
    from ..images.prepare import software_versions

    software = software_versions()
    work = out / WORK_FOLDER
    wanted = {split.name: split.fingerprint() for split in source.splits}
    now = _description_of_run(source, options, software, wanted)
    plan = json.dumps(now, indent=1, sort_keys=True).encode()
    builds = [
        SplitBuild(
            split=split,
            folder=out / split.name,
            parts=work / split.name,
            options=options,
            software=software,
            plan_sha256=hashlib.sha256(plan).hexdigest(),
        )
        for split in source.splits
    ]
    _refuse_what_does_not_fit(out, source, options, wanted, now)
    if not (work / PLAN_NAME).exists():
        new = [split for split in source.splits if not (out / split.name / MANIFEST_NAME).exists()]
        forecast = measure(new, options.pixels, num_workers=options.num_workers)
        if forecast is not None:
            refuse_without_room(out, forecast)
            on_forecast(forecast)
    work.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(work / "lock", doing="writing shards"):
        # Once more, now that nobody else can begin anything here.
        _refuse_what_does_not_fit(out, source, options, wanted, now)
        with whole_file(work / PLAN_NAME) as file:
            file.write(plan)
        built = []
        for build in builds:
            already_complete = (build.folder / MANIFEST_NAME).exists()
            if not already_complete:
                build.build(on_split(build.split))
            built.append(BuiltSplit(shard_set=ShardSet.open(build.folder), already_complete=already_complete))
        shutil.rmtree(work)
    return built


def _description(options: BuildOptions) -> dict[str, object]:
    return {**asdict(options.pixels), "seed": options.seed, "images_per_shard": options.images_per_shard}


def _description_of_run(
    source: Source, options: BuildOptions, software: dict[str, str], fingerprints: dict[str, str]
) -> dict[str, object]:
    now = _description(options) | {f"{name} version": version for name, version in software.items()}
    for split in source.splits:
        now |= {f"{split.name} images of {name}": count for name, count in split.images_per_class().items()}
        now[f"{split.name} files"] = fingerprints[split.name]
    return now


def _refuse_what_does_not_fit(
    out: Path, source: Source, options: BuildOptions, fingerprints: dict[str, str], now: dict[str, object]
) -> None:
    """Refuse sets made of something else, an unfinished run of something else, and folders that are not ours."""
    unfinished = out / WORK_FOLDER / PLAN_NAME
    for split in source.splits:
        folder = out / split.name
        if (folder / MANIFEST_NAME).exists():
            _refuse_other_set(folder, fingerprints[split.name], options)
        elif not unfinished.exists() and folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder}: not empty and not one of our runs; remove it or name another --out")
    if unfinished.exists() and (changes := changed_lines(json.loads(unfinished.read_bytes()), now)):
        shown = "; ".join(changes[:4]) + (f"; and {len(changes) - 4} more" if len(changes) > 4 else "")
        raise InputError(
            f"{out}: holds an unfinished run that differs ({shown}); repeat its command, or remove "
            f"{out} and start again"
        )


def _refuse_other_set(folder: Path, fingerprint: str, options: BuildOptions) -> None:
    manifest = Manifest.read(folder)
    made = BuildOptions(pixels=manifest.pixels, seed=manifest.seed, images_per_shard=manifest.images_per_shard)
    before = {**_description(made), "source": manifest.source_sha256}
    now = {**_description(options), "source": fingerprint}
    if changes := changed_lines(before, now):
        raise InputError(
            f"{folder}: complete, but made differently ({'; '.join(changes)}); give the same options, or another --out"
        )
