"""alexprep verify: check shard sets against their manifests."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import InputError
from ..terminal import as_typed, examples, note, one_line_errors, words
from .arguments import ENGINE, SHARDS, WORKERS, find_damage, sets_of

if TYPE_CHECKING:
    from ...prep.build.integrity.verify import Depth
    from ...prep.build.integrity.verify_shard import Finding
    from ...prep.workers import Engine


@click.command(
    epilog=examples("alexprep verify", "alexprep verify shards/val --decode", "alexprep verify --quick --json")
)
@SHARDS
@click.option("--quick", is_flag=True, help="Check only names and sizes.")
@click.option("--decode", is_flag=True, help="Check hashes, and decode every image.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@WORKERS
@ENGINE
@one_line_errors
def verify(shards: Path, quick: bool, decode: bool, as_json: bool, workers: int | None, engine: "Engine") -> None:
    """Check SHARDS against their manifests: sizes and hashes.

    SHARDS is a shard set or a folder of shard sets; the default is $ALEXKIT_SHARDS, else ./shards.

    Every finding names a file and, if known, the sample and the byte. A file that cannot be read is a finding too, and
    the check continues. The exit code is 1 if there are findings.
    """
    if quick and decode:
        raise click.UsageError("--quick checks only names and sizes, --decode every image; use one of them")
    shown = as_typed(str(shards))
    note(f"checking {shown}")
    if engine == "local" and not quick:
        from ...prep.workers import start_ahead

        images = ("alexkit.prep.images.stored",) * decode
        start_ahead("alexkit.prep.build.integrity.verify_shard", *images)
    import json
    import shlex
    from dataclasses import asdict

    from ...prep.format.manifest import MANIFEST_NAME, Manifest

    depth: Depth = "quick" if quick else "decode" if decode else "hashes"
    sets = sets_of(shards)
    if not any((folder / MANIFEST_NAME).exists() for folder in sets):
        Manifest.read(sets[0])  # raises, since this is probably the wrong folder
    findings = {as_typed(str(folder)): _findings(folder, depth, workers, engine) for folder in sets}
    num_findings = sum(map(len, findings.values()))
    if as_json:
        click.echo(json.dumps({folder: [asdict(one) for one in found] for folder, found in findings.items()}))
    else:
        for folder, found in findings.items():
            for finding in found:
                click.echo(f"{folder}/{finding}")
        click.echo(f"findings: {num_findings}" if num_findings else "all good")
        if any(finding.file != MANIFEST_NAME for found in findings.values() for finding in found):
            repair = shlex.join(["alexprep", "repair", shown, "SOURCE"])
            note(f"to rebuild damaged files from the source images: {repair}")
    raise SystemExit(1 if num_findings else 0)


def _findings(folder: Path, depth: "Depth", workers: int | None, engine: "Engine") -> "list[Finding]":
    """The findings of one set; an unusable manifest is a finding, so that the other sets are still checked."""
    from ...prep.build.integrity.verify_shard import Finding
    from ...prep.format.manifest import MANIFEST_NAME, Manifest

    try:
        Manifest.read(folder)
    except (InputError, OSError) as error:
        problem = words(error).removeprefix(f"{folder / MANIFEST_NAME}: ").removeprefix(f"{folder}: ")
        return [Finding(file=MANIFEST_NAME, problem=as_typed(problem))]
    return find_damage(folder, depth, workers, engine)
