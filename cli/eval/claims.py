"""alexeval claims: the paper's claims beside what runs of ours found."""

from pathlib import Path

import click

from ..terminal import one_line_errors


@click.command(epilog="\b\nExamples:\n  alexeval claims\n  alexeval claims runs/cifar10-13 runs/cifar10-11")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN]...")
@one_line_errors
def claims(runs: tuple[Path, ...]) -> None:
    """Print the paper's claims and what RUNs found, as a Markdown table."""
    from ...model.evaluation.report.claims import claims_table

    click.echo(claims_table(runs))
