"""alextrain: trains a network on a shard set into a run folder."""

import os
from pathlib import Path

import click

from .terminal import one_line_errors, progress


@click.command()
@click.option(
    "--shards",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder with train/ and val/ that 'alexprep shard' wrote.",
)
@click.option("--recipe", default="paper", show_default=True, help="A built-in recipe or a TOML file.")
@click.option("--name", help="Name of the run folder.  [default: the recipe's name]")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of the run folders.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the recipe: training.epochs=5."
)
@click.option(
    "--columns",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="Processes per network: 1 holds all columns, 2 hold one each.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@one_line_errors
def alextrain(
    shards: Path,
    recipe: str,
    name: str | None,
    runs: Path,
    overrides: tuple[str, ...],
    columns: int,
    device: str,
) -> None:
    """Train by a recipe; the same command continues a run that was stopped, and says when it is finished."""
    # Read by torch at its first allocation. Large pages: a step frees and takes hundreds of MB, page by page.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from ..model import load_recipe, wiring

    if not shards.is_dir():
        raise ValueError(f"--shards {shards}: no such folder; name one that 'alexprep shard' wrote")
    chosen = load_recipe(recipe, overrides)
    folder = runs / (name or chosen.name)
    if columns > 1 and "WORLD_SIZE" not in os.environ:
        from ..model.launch import launch
        from ..model.layout import check_parts

        check_parts(columns, columns, wiring(chosen.network).columns)
        own = ["--shards", shards, "--recipe", recipe, "--runs", runs, "--columns", columns, "--device", device]
        own += ["--name", folder.name] + [word for override in overrides for word in ("--set", override)]
        raise SystemExit(launch("alexkit.cli.alextrain", [str(word) for word in own], columns))
    from ..model import Trainer

    trainer = Trainer(chosen, shards, folder, device=device, processes_per_network=columns)
    try:
        if trainer.layout.rank > 0:
            trainer.run()
            return
        if trainer.run_folder.result:
            click.echo(f"{folder} is finished; to train again choose another --name or remove the folder")
            result = trainer.run()
        else:
            if trainer.step:
                click.echo(f"{folder}: continuing behind step {trainer.step} of {trainer.num_steps}", err=True)
            with progress("train", trainer.num_steps * chosen.training.batch_size, "images") as update:
                result = trainer.run(update)
    finally:
        trainer.close()
    click.echo(f"validation, centre crop, {result['images']} images after {result['epochs']} epochs:")
    click.echo(f"  top-1 error {result['top1_error']:.2%}   top-5 error {result['top5_error']:.2%}")
    click.echo(f"  best top-1 error {result['best_top1_error']:.2%}")
    for picture in ("curves.png", "filters.png"):
        click.echo(f"  {folder / picture}")


if __name__ == "__main__":
    alextrain()
