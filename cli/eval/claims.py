"""alexeval claims: compare the paper's claims with the results of runs."""

import json
from pathlib import Path

import click

from ..terminal import examples, one_line_errors
from .options import PATH, require_picture


@click.command(
    short_help="Print the paper's claims and what RUNs found.",
    epilog=examples(
        "alexeval claims",
        "alexeval claims runs/cifar10-13 runs/cifar10-11",
        "alexeval claims runs/cifar10-13 --store records --picture figure-1.png",
    ),
)
@click.argument("runs", nargs=-1, type=PATH, metavar="[RUN]...")
@click.option(
    "--scores",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Saved output of 'alexeval RUN --json', for errors with nine and ten views.",
)
@click.option("--store", type=PATH, help="Write a record of each RUN to this folder as NAME.json.")
@click.option("--picture", type=PATH, help="Plot error by epoch to this PNG, as in Figure 1.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON instead of the table.")
@one_line_errors
def claims(
    runs: tuple[Path, ...], scores: tuple[Path, ...], store: Path | None, picture: Path | None, as_json: bool
) -> None:
    """Print the paper's claims and what RUNs found, as a Markdown table.

    RUN is the folder of a finished run, or a record written by --store.
    """
    from ...model.evaluation.claims import claims_rows, claims_table, draw_errors, read_records, store_record

    require_picture("--picture", picture)
    records = read_records(runs, scores)
    if store is not None:
        for record in records:
            store_record(record, store)
    if picture is not None:
        draw_errors(picture, records)
    click.echo(json.dumps(claims_rows(records)) if as_json else claims_table(records))
