"""Arguments, options and output shared by several alexprep commands."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...cores import num_cores
from ..locations import SHARDS_TO_READ, LocalPath
from ..terminal import progress, warn

if TYPE_CHECKING:
    from ...prep.build.integrity.verify import Depth
    from ...prep.build.integrity.verify_shard import Finding
    from ...prep.format.manifest import Manifest
    from ...prep.format.shard_set import ShardSet
    from ...prep.storage import Location
    from ...prep.workers import Engine

SHOWN_CLASSES = 4
FOLDER = LocalPath(file_okay=False)
SHARDS = click.argument("shards", type=SHARDS_TO_READ, default=Path("shards"), envvar="ALEXKIT_SHARDS")
WORKERS = click.option("--workers", type=click.IntRange(1), help="Worker processes.  [default: one per CPU core]")
ENGINE = click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Run on local processes or on a Ray cluster (RAY_ADDRESS).",
)


OUT = click.option("--out", type=FOLDER, help="Folder for the output files.  [default: beside the shards]")


def place_of(folder: Path, out: Path | None, files: str) -> Path | None:
    """The folder for a report's files: `out`, else `folder`; None, with a warning, if `folder` is not writable.

    Raises OSError, before any work, if `out` cannot be created or is not writable.
    """
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    place = folder if out is None else out
    if os.access(place, os.W_OK | os.X_OK):
        return place
    if out is not None:
        raise OSError(errno.EACCES, "not writable; choose another folder with --out", str(out))
    warn(f"{folder}: not writable, so {files} will not be written; choose a folder for them with --out")
    return None


def named_or_default(words: "Sequence[str | Location]") -> "Location":
    """SHARDS of a command with a further argument: the first of `words`, else the default of `SHARDS`."""
    from ...prep.storage import parse_location

    return parse_location(words[0] if words else os.environ.get("ALEXKIT_SHARDS") or "shards")


def train_set(shards: Path) -> "ShardSet":
    """The train split of SHARDS, or SHARDS itself if it is one set."""
    from ...prep import ShardSet

    inner = shards / "train"
    return ShardSet.open(inner if inner.is_dir() and not (shards / "manifest.json").exists() else shards)


def sets_of(shards: Path) -> list[Path]:
    from ...prep.format.shard_set import SPLITS

    return [shards / split for split in SPLITS if (shards / split).is_dir()] or [shards]


def set_row(manifest: "Manifest", folder: object) -> dict[str, Any]:
    """A summary of the set in `folder`, as `--json` prints it."""
    return {
        "split": manifest.split,
        "images": manifest.num_samples,
        "classes": len(manifest.classes),
        "shards": len(manifest.shards),
        "bytes": sum(entry.num_bytes for entry in manifest.shards),
        "size_px": manifest.pixels.size_px,
        "format": manifest.pixels.format,
        "folder": str(folder),
    }


def find_damage(folder: Path, depth: "Depth", workers: int | None, engine: "Engine") -> "list[Finding]":
    from ...prep import Manifest
    from ...prep.build.integrity.verify import verify_set

    with progress(f"checking {folder.name}", Manifest.read(folder).num_samples, "images") as update:
        return verify_set(
            folder,
            depth=depth,
            num_workers=num_cores() if workers is None else workers,
            engine=engine,
            on_progress=update,
        )


def some_classes(ids: Sequence[str]) -> str:
    """The first of these class ids."""
    return ", ".join(ids[:SHOWN_CLASSES]) + (", …" if len(ids) > SHOWN_CLASSES else "")


def without_images(shard_set: "ShardSet") -> str:
    """The classes of a set on this machine that have no images, as `1 of 3 classes have no images: dog`; "" if none."""
    import numpy as np

    ids = [entry.id for entry in shard_set.manifest.classes]
    labels_N = shard_set.sample_index().labels_N
    counts = np.bincount(labels_N[labels_N >= 0], minlength=len(ids))
    empty = [class_id for class_id, count in zip(ids, counts, strict=True) if not count]
    return f"{len(empty):,} of {len(ids):,} classes have no images: {some_classes(empty)}" if empty else ""
