"""alexprep repair: what is damaged is made again from the source."""

from pathlib import Path

import click

from ..terminal import one_line_errors, progress
from .arguments import FOLDER, FOLDER_OR_LIST, find_damage, num_cores, sets_of


@click.command()
@click.argument("shards", type=FOLDER)
@click.argument("source", type=FOLDER_OR_LIST)
@click.option("--workers", type=int, default=None, help="Worker processes.  [default: one per CPU core]")
@one_line_errors
def repair(shards: Path, source: Path, workers: int | None) -> None:
    """Find what is damaged in SHARDS and make only that again from SOURCE, to the same bytes."""
    from ...prep import Manifest
    from ...prep.build.repair import damaged_shards, repair_set
    from ...prep.sources.recognize import open_source

    found_source = open_source(source)
    for folder in sets_of(shards):
        findings = find_damage(folder, "hashes", workers)
        if not findings:
            click.echo(f"{folder}: all good")
            continue
        shards_to_make = damaged_shards(Manifest.read(folder), findings)
        with progress("repairing", sum(entry.num_samples for entry in shards_to_make), "images") as update:
            names = repair_set(
                folder,
                found_source,
                findings,
                num_workers=num_cores() if workers is None else workers,
                on_progress=update,
            )
        click.echo(f"{folder}: made again {', '.join(names)}")
