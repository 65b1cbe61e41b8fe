"""A source's contents, listed once per run: `OUT/.unfinished/SPLIT.inputs`, memory-mapped by all workers.

The process that begins the run lists the source and writes the file, before the plan; jobs refer to the file instead of
containing their images. A process that writes only a part of the shards uses this listing as it is, without visiting
the source, if the run was begun by the same request on the same paths. A run of all shards lists the source again, and
so notices changes.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..format.files import create_once, no_writing
from ..format.manifest import ClassEntry
from ..format.shard_set import SPLITS
from ..sources.columns.listed import ListedImages
from ..sources.inputs import Known, SourceSplit
from ..sources.options import SourceOptions
from ..sources.recognize import Source, asked_by, open_source
from ..storage import Location
from .lock import waiting_lock

WORK_FOLDER = ".unfinished"
PLAN_NAME = "plan.json"
SUFFIX = ".inputs"


def keep_listing(source: Source, work: Path) -> Source:
    """The source with its images in files in `work`, which are written if missing.

    A split stays unchanged if its URLs contain passwords or if the run was begun by another request, as on a
    machine where the same source has another path.
    """
    splits = (_kept(source, split, work / f"{split.name}{SUFFIX}") for split in source.splits)
    return replace(source, splits=tuple(splits))


def source_of_part(location: Location, options: SourceOptions | None, out: Path) -> Source:
    """The source, for a process that writes a part of the shards in `out`: only the first such process lists it.

    Raises what `open_source` raises.
    """
    work, asked = out / WORK_FOLDER, asked_by(location, options)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if not no_writing(error):
            raise
        return open_source(location, options, out=out)  # complete sets are still reported
    with waiting_lock(work / "listing.lock"):
        kept = kept_source(work, asked)
        if kept is not None:
            return kept
        try:
            return keep_listing(open_source(location, options, out=out), work)
        except InputError:
            if not any(work.glob(f"*{SUFFIX}")) and not (work / PLAN_NAME).exists():
                shutil.rmtree(work, ignore_errors=True)
            raise


def kept_source(work: Path, asked: str) -> Source | None:
    """The source as listed when the run in `work` began; None unless that run was begun by the request `asked`."""
    splits: list[SourceSplit] = []
    about: dict[str, Any] = {}
    for name in SPLITS:
        path = work / f"{name}{SUFFIX}"
        if not path.exists():
            continue
        about, images = _opened(path)
        if about["asked"] != asked:
            return None
        splits.append(_split_of(about, images))
    if not splits or about["splits"] != [split.name for split in splits]:
        return None
    return Source(
        description=about["description"],
        splits=tuple(splits),
        notes=tuple(about["notes"]),
        passed_over=tuple(about["passed_over"]),
        asked=asked,
    )


def _kept(source: Source, split: SourceSplit, path: Path) -> SourceSplit:
    images = split.images
    if not isinstance(images, ListedImages) or images.path == path:
        return split
    if not path.exists():
        about = _about(source, split)
        create_once(path, lambda file: images.write(file, about))
    found, kept = _opened(path)
    if (found["asked"], found["fingerprint"]) != (source.asked, split.fingerprint()):
        return split
    return _split_of(found, kept)


def _opened(path: Path) -> tuple[dict[str, Any], ListedImages]:
    try:
        images = ListedImages.open(path)
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: damaged ({error}); remove it and run the same command again") from None
    return images.about, images


def _about(source: Source, split: SourceSplit) -> dict[str, Any]:
    return {
        "asked": source.asked,
        "split": split.name,
        "splits": [one.name for one in source.splits],
        "classes": [asdict(entry) for entry in split.classes],
        "class_order": split.class_order,
        "root": split.root,
        "fingerprint": split.fingerprint(),
        "counts": list(split.images_per_class().values()),
        "description": source.description,
        "notes": source.notes,
        "passed_over": source.passed_over,
    }


def _split_of(about: dict[str, Any], images: ListedImages) -> SourceSplit:
    classes: Sequence[dict[str, Any]] = about["classes"]
    return SourceSplit(
        name=about["split"],
        classes=tuple(ClassEntry(**entry) for entry in classes),
        images=images,
        class_order=about["class_order"],
        root=about.get("root", ""),
        known=Known(about["fingerprint"], tuple(about["counts"])),
    )
