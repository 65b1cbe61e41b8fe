"""alexprep repair: what is damaged is made again from the source."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...cores import num_cores
from ..locations import LOCATION, copy_of
from ..terminal import as_typed, examples, one_line_errors, progress
from .arguments import ENGINE, WORKERS, find_damage, named_or_default, sets_of
from .source_options import source_options

if TYPE_CHECKING:
    from ...prep.sources import SourceOptions
    from ...prep.storage import Location, StoreUrl
    from ...prep.workers import Engine


@click.command(
    short_help="Make what is damaged in SHARDS again from SOURCE.",
    epilog=examples("alexprep repair /imagenet", "alexprep repair shards/val /imagenet"),
)
@click.argument("paths", type=LOCATION, nargs=-1, required=True, metavar="[SHARDS] SOURCE")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON which files of which set were made again.")
@WORKERS
@ENGINE
@one_line_errors
@source_options
def repair(
    paths: "tuple[Location, ...]", as_json: bool, workers: int | None, engine: "Engine", reading: "SourceOptions"
) -> None:
    """Make what is damaged in SHARDS again from SOURCE, to the same bytes.

    SHARDS is one set or the folder of several; ./shards unless named here or in ALEXKIT_SHARDS. Both may be in a store:
    then SHARDS is copied to TMPDIR, and what was made again is sent back. Options that say how SOURCE is read must be
    those of 'alexprep shard'.
    """
    from ...prep import Manifest
    from ...prep.build.integrity.repair import damaged_shards, repair_set
    from ...prep.sources import open_source
    from ...prep.storage import ObjectStore

    if len(paths) > 2:
        raise click.UsageError(f"name SHARDS and SOURCE, not {len(paths)} folders: {' '.join(map(str, paths))}")
    location = named_or_default(paths[:-1])
    in_store = None if isinstance(location, Path) else location
    if in_store is not None:
        ObjectStore(in_store).refuse_read_only()
    found_source = open_source(paths[-1], reading, out=location)
    shards = location if isinstance(location, Path) else copy_of(location, click.get_current_context(), keep_new=False)
    repaired: dict[str, list[str]] = {}
    for folder in sets_of(shards):
        findings = find_damage(folder, "hashes", workers, engine)
        if not findings:
            repaired[as_typed(str(folder))] = []
            continue
        shards_to_make = damaged_shards(Manifest.read(folder), findings)
        with progress("repairing", sum(entry.num_samples for entry in shards_to_make), "images") as update:
            names = repair_set(
                folder,
                found_source,
                findings,
                num_workers=num_cores() if workers is None else workers,
                engine=engine,
                on_progress=update,
            )
        if in_store is not None:
            _send(in_store if folder == shards else in_store / folder.name, folder, names)
        repaired[as_typed(str(folder))] = list(names)
    if as_json:
        click.echo(json.dumps(repaired))
        return
    for name, files in repaired.items():
        click.echo(f"{name}: made again {', '.join(files)}" if files else f"{name}: all good")


def _send(url: "StoreUrl", folder: Path, names: list[str]) -> None:
    """Put what was made again in the place of the damaged objects, each in one request."""
    from ...prep.storage import ObjectStore

    store = ObjectStore(url)
    for name in names:
        store.put_whole(name, folder / name)
