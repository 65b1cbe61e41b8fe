"""alexprep doctor: is this machine fit for the work?"""

from pathlib import Path

import click

from ..terminal import examples, note, one_line_errors
from .arguments import FOLDER


@click.command(epilog=examples("alexprep doctor", "alexprep doctor --out /data/shards", "alexprep doctor --json"))
@click.option("--out", type=FOLDER, default=Path("shards"), show_default=True, help="Where shards would go.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, for an issue or a program.")
@one_line_errors
def doctor(out: Path, as_json: bool) -> None:
    """Check this machine: libraries, CUDA, decoding, limits, disk.

    What is wrong comes with the line that fixes it, and the exit code is then 1.
    """
    note("examining this machine")
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
