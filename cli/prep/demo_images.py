"""alexprep demo-images: draw the demo set."""

from pathlib import Path

import click

from ...cores import num_cores
from ..terminal import examples, one_line_errors, progress
from .arguments import FOLDER, WORKERS


@click.command(
    "demo-images",
    short_help="Draw the demo set into FOLDER.",
    epilog=examples("alexprep demo-images images --train 200 --val 50"),
)
@click.argument("folder", type=FOLDER)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Random seed; different seeds draw different images.",
)
@click.option("--train", "num_train", default=1500, show_default=True, help="Training images, a multiple of 10.")
@click.option("--val", "num_val", default=300, show_default=True, help="Validation images, a multiple of 10.")
@WORKERS
@one_line_errors
def demo_images(folder: Path, seed: int, num_train: int, num_val: int, workers: int | None) -> None:
    """Draw the demo set into FOLDER: ten classes of photograph-like images."""
    from ...prep.demo.draw import draw_demo_images

    with progress("drawing", num_train + num_val, "images") as update:
        draw_demo_images(
            folder,
            seed=seed,
            num_train=num_train,
            num_val=num_val,
            workers=num_cores() if workers is None else workers,
            on_progress=lambda done, total: update(done),
        )
    click.echo(f"{num_train} training and {num_val} validation images in {folder}")
