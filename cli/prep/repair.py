"""alexprep repair: rebuild damaged files of shard sets from the source."""

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
    short_help="Rebuild damaged files of SHARDS from SOURCE.",
    epilog=examples("alexprep repair /imagenet", "alexprep repair shards/val /imagenet"),
)
@click.argument("paths", type=LOCATION, nargs=-1, required=True, metavar="[SHARDS] SOURCE")
@click.option("--json", "as_json", is_flag=True, help="Print the rebuilt files of each set as JSON.")
@WORKERS
@ENGINE
@one_line_errors
@source_options
def repair(
    paths: "tuple[Location, ...]", as_json: bool, workers: int | None, engine: "Engine", reading: "SourceOptions"
) -> None:
    """Rebuild damaged files of SHARDS from SOURCE, byte for byte.

    SHARDS is a shard set or a folder of shard sets; the default is $ALEXKIT_SHARDS, else ./shards.

    SHARDS and SOURCE may be in an object store. SHARDS in a store is copied to TMPDIR, and its rebuilt files are
    uploaded. Options that control how SOURCE is read must be the same as for 'alexprep shard'.
    """
    from ...prep import Manifest
    from ...prep.build.integrity.repair import damaged_shards, repair_set
    from ...prep.format.manifest import MANIFEST_NAME
    from ...prep.sources import open_source
    from ...prep.storage import ObjectStore

    if len(paths) > 2:
        raise click.UsageError(f"expected [SHARDS] SOURCE, got {len(paths)} arguments: {' '.join(map(str, paths))}")
    (*named, source) = paths
    if not named and isinstance(source, Path) and any((one / MANIFEST_NAME).exists() for one in sets_of(source)):
        raise click.UsageError(f"{source} holds shard sets, so SOURCE seems to be missing; name both SHARDS and SOURCE")
    location = named_or_default(named)
    in_store = None if isinstance(location, Path) else location
    if in_store is not None:
        ObjectStore(in_store).refuse_read_only()
    found_source = open_source(source, reading, out=location)
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
        click.echo(f"{name}: {', '.join(files)} made again" if files else f"{name}: all good")


def _send(url: "StoreUrl", folder: Path, names: list[str]) -> None:
    """Overwrite the damaged objects with the rebuilt files, each in one request."""
    from ...prep.storage import ObjectStore

    store = ObjectStore(url)
    for name in names:
        store.put_whole(name, folder / name)
