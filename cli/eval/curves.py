"""alexeval curves: plot loss and error of several runs in one chart."""

import json
from pathlib import Path

import click

from ..terminal import examples, note, one_line_errors
from .options import PATH, require_file


@click.command(
    short_help="Plot loss and error of several runs in one chart.",
    epilog=examples("alexeval curves runs/one runs/two", "alexeval curves runs/one runs/two --out two.png --json"),
)
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option("--out", type=PATH, default=Path("curves.png"), show_default=True, help="PNG to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the errors as JSON instead of the table.")
@one_line_errors
def curves(runs: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Plot training loss and validation error of RUNs by epoch, and print the best and the last error.

    RUNs may still be training.
    """
    from ...model.evaluation.figures import draw_runs

    require_file("--out", out)
    found = draw_runs(out, runs)
    if as_json:
        keys = ("run", "best_top1_error", "best_epoch", "last_top1_error")
        rows = [(str(run), best / 100, epoch, last / 100) for run, best, epoch, last in found]
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        width = max([len(str(run)) for run, *_ in found], default=0)
        click.echo(f"{'':{width}}  best top-1 error at epoch   last")
        for run, best, epoch, last in found:
            click.echo(f"{run!s:{width}}  {best:14.2f} %{epoch:10.0f}{last:7.2f} %")
    note(f"wrote {out}")
