"""alexprep doctor: is this machine fit for the work?"""

from pathlib import Path

import click

from ..terminal import one_line_errors
from .arguments import FOLDER


@click.command()
@click.option("--out", type=FOLDER, default=Path("shards"), show_default=True, help="Where shards would go.")
@one_line_errors
def doctor(out: Path) -> None:
    """Check this machine: libraries, driver, decoding, limits, disk; exit code 1 if something needs mending."""
    from ...prep.reports.doctor import examine

    checks = examine(out)
    width = max(len(check.name) for check in checks)
    for check in checks:
        click.echo(f"{'!!' if check.mend else 'ok'}  {check.name:{width}}  {check.found}")
        if check.mend:
            click.echo(f"{'':{width + 6}}→ {check.mend}")
    raise SystemExit(any(check.mend for check in checks))
