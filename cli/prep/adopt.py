"""alexprep adopt: WebDataset tars made elsewhere become a shard set where they lie."""

from pathlib import Path

import click

from ..terminal import examples, one_line_errors, progress
from .arguments import FOLDER


@click.command(epilog=examples("alexprep adopt their-tars adopted"))
@click.argument("tars", type=FOLDER)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--split",
    type=click.Choice(["train", "val"]),
    default="train",
    show_default=True,
    help="Which split the tars hold.",
)
@one_line_errors
def adopt(tars: Path, folder: Path, split: str) -> None:
    """Make FOLDER a shard set of WebDataset TARS made elsewhere.

    The tars stay where they are, unchanged. Their images must be square and of one size, with one class number (cls)
    each; 'alexprep shard' takes all others.
    """
    from ...prep.build.adopt import adopt_webdataset

    total = sum(path.stat().st_size for path in tars.glob("*.tar")) // 2**20
    with progress("adopting", total, "MB") as update:
        adopt_webdataset(tars, folder, split=split, on_progress=lambda num_bytes: update(num_bytes // 2**20))
    click.echo(f"{folder} is a shard set; 'alexprep inspect {folder}' shows it")
