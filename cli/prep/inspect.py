"""alexprep inspect: one page that shows a shard set."""

from pathlib import Path

import click

from ..terminal import examples, one_line_errors
from .arguments import SHARDS, train_set


@click.command(epilog=examples("alexprep inspect", "alexprep inspect shards/val --png"))
@SHARDS
@click.option("--png", is_flag=True, help="Also write a contact sheet, samples.png.")
@one_line_errors
def inspect(shards: Path, png: bool) -> None:
    """Write inspect.html beside SHARDS: one page that shows them.

    SHARDS is one set, or a folder of sets, of which train is taken; ./shards unless named here or in ALEXKIT_SHARDS.
    """
    from ...prep.format.files import whole_file
    from ...prep.reports.inspect import contact_sheet, inspection_page, survey_set

    shard_set = train_set(shards)
    survey = survey_set(shard_set)
    with whole_file(shard_set.folder / "inspect.html") as file:
        file.write(inspection_page(shard_set, survey).encode())
    click.echo(
        f"{len(survey.labels_N)} images in {len(survey.counts_K)} classes of {survey.counts_K.min()} to "
        f"{survey.counts_K.max()}; distinct classes in a batch: {survey.distinct_mean:.1f}, "
        f"{survey.distinct_ideal:.1f} expected of a perfect shuffle"
    )
    click.echo(f"wrote {shard_set.folder / 'inspect.html'}")
    if png:
        with whole_file(shard_set.folder / "samples.png") as file:
            contact_sheet(shard_set, survey).save(file, "PNG")
        click.echo(f"wrote {shard_set.folder / 'samples.png'}")
