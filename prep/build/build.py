"""A source to shard sets: the same bytes for any number of workers and any interruption.

`OUT/.unfinished/` holds the lock, the plan and, per split, the state: which shards are finished, their sums and their
quarantined inputs. A shard is finished when it is whole on disk and in the state; what is not is done again. The
manifest of a split is written when all its shards are there; the last act removes `.unfinished`.
"""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..format.files import whole_file
from ..format.manifest import MANIFEST_NAME, Manifest, complete_set
from ..format.pixel_options import PixelOptions
from ..format.shard import ShardEntry, index_path
from ..format.shard_set import ShardSet
from ..format.stats import PixelSums
from ..sources.inputs import SourceSplit
from ..sources.recognize import Source
from .forecast import Forecast, measure, refuse_without_room
from .lock import exclusive_lock
from .plan import ShardPlan, changed_lines
from .shard_job import ShardJob, write_one_shard
from .state import SplitState
from .workers import run_jobs

WORK_FOLDER = ".unfinished"
PLAN_NAME = "plan.json"

OnProgress = Callable[[int, int], None]
"""`on_progress(inputs done, inputs quarantined)` of the split that is being built."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """How to build. Only `pixels`, `seed` and `images_per_shard` shape the result.

    `max_bad` is how many quarantined inputs a split may have; None stands for 0.1 %, but at least 10.
    """

    pixels: PixelOptions = field(default_factory=PixelOptions)
    seed: int = 0
    images_per_shard: int = 1000
    num_workers: int = 2
    max_bad: int | None = None

    def __post_init__(self) -> None:
        if self.num_workers < 1:
            raise InputError(f"workers must be at least 1, got {self.num_workers}")
        if self.max_bad is not None and self.max_bad < 0:
            raise InputError(f"max bad must be 0 or more, got {self.max_bad}")

    def bad_limit(self, num_images: int) -> int:
        """How many of `num_images` inputs may be bad."""
        return max(10, num_images // 1000) if self.max_bad is None else self.max_bad


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
    on_split: Callable[[SourceSplit], OnProgress],
    on_forecast: Callable[[Forecast], None] = lambda forecast: None,
) -> list[BuiltSplit]:
    """Build every split of `source` under `out`, or continue where an interrupted run stopped.

    `on_split` is called before a split is built and returns where its progress goes; `on_forecast` before a large
    source is begun. Raises InputError for an output that was made, or begun, with other options or another source, for
    a disk without room for it, for too many bad inputs, and when another process works on `out`; OSError from the disk.
    All leave only complete files at final names; a refusal leaves nothing new.
    """
    from ..images.prepare import software_versions

    plans = [plan_of(split, options) for split in source.splits]
    software = software_versions()
    work = out / WORK_FOLDER
    wanted = {split.name: split.fingerprint() for split in source.splits}
    now = _description_of_run(source, options, software, wanted)
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
            file.write(json.dumps(now, indent=1, sort_keys=True).encode())
        built = []
        for split, plan in zip(source.splits, plans, strict=True):
            folder = out / split.name
            already_complete = (folder / MANIFEST_NAME).exists()
            if not already_complete:
                _build_split(split, plan, folder, work / f"{split.name}.npz", options, software, on_split(split))
            built.append(BuiltSplit(shard_set=ShardSet.open(folder), already_complete=already_complete))
        shutil.rmtree(work)
    return built


def plan_of(split: SourceSplit, options: BuildOptions) -> ShardPlan:
    """How `split` is dealt to shards."""
    return ShardPlan(
        split=split.name,
        num_images=len(split.images),
        seed=options.seed,
        images_per_shard=options.images_per_shard,
    )


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
        raise InputError(f"{folder}: complete, but made differently ({'; '.join(changes)}); name another --out")


def _build_split(
    split: SourceSplit,
    plan: ShardPlan,
    folder: Path,
    state_path: Path,
    options: BuildOptions,
    software: dict[str, str],
    on_progress: OnProgress,
) -> None:
    folder.mkdir(exist_ok=True)
    for leftover in folder.glob("*.partial"):
        leftover.unlink()
    order, ranges = plan.order(), plan.shard_ranges()
    state = (
        SplitState.load(state_path) if state_path.exists() else SplitState(sums=PixelSums.zero(options.pixels.size_px))
    )
    if any(entry and not _is_whole(folder, entry) for entry in state.entries.values()):
        # Somebody took a finished shard away; the sums of the others cannot be told apart, so all are written again.
        state = SplitState(sums=PixelSums.zero(options.pixels.size_px))
    before = sum(len(ranges[number]) for number in state.entries)
    jobs = (
        (shard_job(split, folder, plan, order, number, options), len(positions))
        for number, positions in enumerate(ranges)
        if number not in state.entries
    )
    results = run_jobs(
        write_one_shard,
        jobs,
        num_workers=options.num_workers,
        on_progress=lambda done: on_progress(before + done, state.num_bad),
    )
    with closing(results):  # stops the workers also when we raise
        for job, result in results:
            state.add(job.number, result)
            state.save(state_path)
            _refuse_too_many_bad(state, split, options)
    _finish(split, folder, plan, state, options, software)


def shard_job(
    split: SourceSplit,
    folder: Path,
    plan: ShardPlan,
    order: NDArray[np.int64],
    number: int,
    options: BuildOptions,
) -> ShardJob:
    """The job that writes shard `number` of the plan into `folder`; `order` is the plan's."""
    positions = plan.positions(number)
    return ShardJob(
        path=folder / plan.shard_name(number),
        number=number,
        first_position=positions.start,
        images=[split.images[i] for i in order[positions.start : positions.stop].tolist()],
        pixels=options.pixels,
    )


def _refuse_too_many_bad(state: SplitState, split: SourceSplit, options: BuildOptions) -> None:
    limit = options.bad_limit(len(split.images))
    if state.num_bad > limit:
        first = next(bad for shard in state.quarantined.values() for bad in shard)
        raise InputError(
            f"{split.name}: {state.num_bad} bad inputs, more than {limit} of {len(split.images)}, e.g. {first.source}: "
            f"{first.reason}; check the source, or allow more with --max-bad"
        )


def _is_whole(folder: Path, entry: ShardEntry) -> bool:
    shard = folder / entry.name
    return shard.is_file() and shard.stat().st_size == entry.num_bytes and index_path(shard).is_file()


def _finish(
    split: SourceSplit,
    folder: Path,
    plan: ShardPlan,
    state: SplitState,
    options: BuildOptions,
    software: dict[str, str],
) -> None:
    if state.sums.num_images == 0:
        raise InputError(f"{split.name}: none of {len(split.images)} inputs is a usable image; check the source")
    for entry in state.entries.values():
        if entry and not _is_whole(folder, entry):
            raise InputError(
                f"{folder / entry.name}: was removed or changed while the run went on; the same command writes it again"
            )
    quarantined = sorted((bad for shard in state.quarantined.values() for bad in shard), key=lambda bad: bad.source)
    complete_set(
        folder,
        state.sums,
        split=split.name,
        seed=plan.seed,
        images_per_shard=plan.images_per_shard,
        pixels=options.pixels,
        software=software,
        classes=split.classes,
        shards=[entry for _, entry in sorted(state.entries.items()) if entry is not None],
        quarantined=quarantined,
        num_patched=state.num_patched,
        source_sha256=split.fingerprint(),
    )
