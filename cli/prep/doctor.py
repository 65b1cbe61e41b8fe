"""alexprep doctor: check that this machine can run alexkit."""

from pathlib import Path

import click

from ..terminal import examples, note, one_line_errors
from .arguments import FOLDER


@click.command(epilog=examples("alexprep doctor", "alexprep doctor --out /data/shards", "alexprep doctor --json"))
@click.option(
    "--out", type=FOLDER, default=Path("shards"), show_default=True, help="Folder where shards would be written."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, for a bug report or a program.")
@one_line_errors
def doctor(out: Path, as_json: bool) -> None:
    """Check this machine: libraries, CUDA, decoding, limits, disk.

    Each problem is followed by its fix. The exit code is 1 if there is any problem.
    """
    note("checking this machine")
    import json

    from ...prep.reports.doctor import examine, to_json

    checks = examine(out)
    if as_json:
        click.echo(json.dumps(to_json(checks), indent=1))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            click.echo(f"{'!!' if check.fix else 'ok'}  {check.name:{width}}  {check.found}")
            if check.fix:
                click.echo(f"{'':{width + 6}}→ {check.fix}")
    raise SystemExit(any(check.fix for check in checks))
