"""alextrain: trains a network on a shard set into a run folder."""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import InputError
from ..locations import SHARDS_TO_TRAIN, cache_options
from ..terminal import one_line_errors, progress

if TYPE_CHECKING:
    from ...model import Recipe


ARGUMENTS = "alexkit.train.arguments"


class _Forwarded(click.Command):
    """A command that keeps its arguments as they were given, for the processes that it starts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)


@click.command(cls=_Forwarded)
@click.option(
    "--shards",
    type=SHARDS_TO_TRAIN,
    required=True,
    help="Folder or address with train/ and val/ that 'alexprep shard' wrote.",
)
@cache_options
@click.option(
    "--recipe", default="paper", show_default=True, help="A built-in recipe, a TOML file, or a run's config.json."
)
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
@click.option("--dry-run", is_flag=True, help="Make three steps, print sizes and a forecast, keep nothing.")
@click.option("--bench-data", is_flag=True, help="Measure what loading takes and name the limit; train nothing.")
@one_line_errors
def train(
    shards: Path,
    recipe: str,
    name: str | None,
    runs: Path,
    overrides: tuple[str, ...],
    columns: int,
    device: str,
    dry_run: bool,
    bench_data: bool,
) -> None:
    """Train by a recipe; the same command continues a run that was stopped, and says when it is finished."""
    from ...model import load_recipe, wiring

    if not shards.is_dir():
        raise InputError(f"--shards {shards}: no such folder; name one that 'alexprep shard' wrote")
    chosen = load_recipe(recipe, overrides)
    folder = runs / (name or chosen.name)
    if bench_data:
        if columns > 1 or dry_run:
            raise InputError("--bench-data measures one loader by itself; leave out --columns and --dry-run")
        _bench_data(chosen, shards, device)
        return
    if columns > 1 and "WORLD_SIZE" not in os.environ:
        from ...model.processes.launch import launch
        from ...model.processes.layout import check_processes

        check_processes(columns, columns, wiring(chosen.network).columns)
        raise SystemExit(launch("alexkit.cli.alextrain", click.get_current_context().meta[ARGUMENTS], columns))
    if dry_run:
        _dry_run(chosen, shards, folder, device, columns)
        return
    from ...model import Trainer

    trainer = Trainer(chosen, shards, folder, device=device, processes_per_replica=columns)
    try:
        if trainer.layout.rank > 0:
            trainer.run()
            return
        if trainer.run_folder.result:
            click.echo(f"{folder} is finished; to train again choose another --name or remove the folder")
            result = trainer.run()
        else:
            if trainer.step:
                click.echo(f"{folder}: resuming after step {trainer.step} of {trainer.num_steps}", err=True)
            with progress("train", trainer.num_steps * chosen.training.batch_size, "images") as update:
                result = trainer.run(update)
    finally:
        trainer.close()
    click.echo(f"validation, center crop, {result['images']} images after {result['epochs']} epochs:")
    click.echo(f"  top-1 error {result['top1_error']:.2%}   top-5 error {result['top5_error']:.2%}")
    click.echo(f"  best top-1 error {result['best_top1_error']:.2%}")
    for picture in ("curves.png", "filters.png"):
        click.echo(f"  {folder / picture}")


def _bench_data(recipe: "Recipe", shards: Path, device: str) -> None:
    from ...model.network.precision import use_device
    from ...pipeline.throughput import measure_throughput

    found = measure_throughput(
        shards / "train",
        batch_size=recipe.training.batch_size,
        augment=recipe.data.augment(),
        device=str(use_device(device)),
    )
    click.echo("\n".join(found.lines()))


def _dry_run(recipe: "Recipe", shards: Path, folder: Path, device: str, columns: int) -> None:
    from ...model import Trainer
    from ...model.training.forecast import forecast, table

    # Beside the run's folder to be: where all processes of the run, on whatever machine, will meet.
    scratch, runs_are_new = folder.with_name(f".{folder.name}.dry-run"), not folder.parent.exists()
    first = int(os.environ.get("RANK", "0")) == 0
    if first:
        shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
    try:
        trainer = Trainer(recipe, shards, scratch, device=device, processes_per_replica=columns)
        try:
            expected = forecast(trainer)
        finally:
            trainer.close()
    finally:
        if first:
            shutil.rmtree(scratch, ignore_errors=True)
            if runs_are_new and folder.parent.exists() and not any(folder.parent.iterdir()):
                folder.parent.rmdir()
    if not first:
        return
    click.echo(json.dumps(recipe.to_json(), indent=1))
    click.echo(table(trainer))
    training = recipe.training
    click.echo(
        f"{trainer.device}, {trainer.precision}, batch {training.batch_size}, {len(trainer.loader)} steps an epoch"
    )
    click.echo(f"a step takes {expected.step_s:.3f} s: {training.batch_size / expected.step_s:.0f} images/s")
    click.echo(f"{training.epochs} epochs take about {expected.run_s / 3600:.1f} h, without validation")
    click.echo(f"memory at most {expected.memory}{', in each process' if columns > 1 else ''}")
    if columns > 1:
        click.echo(f"each process sends {expected.sent_bytes:,} bytes a step to the other column")
