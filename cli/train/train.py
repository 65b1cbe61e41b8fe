"""alextrain: train a network on a shard set and write a run folder."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ...errors import InputError
from ..locations import LocalPath, cache_options, complete_recipe, shards_option
from ..memory import keep_freed_memory
from ..terminal import clock, examples, if_interrupted, note, one_line_errors, progress
from .dry_run import bench_data, dry_run

if TYPE_CHECKING:
    from ...model import Recipe
    from ...model.runs.recipe import RecipeChange


ARGUMENTS = "alexkit.train.arguments"


class _Forwarded(click.Command):
    """A command that keeps its original arguments for the processes that it starts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)


def _name_below_runs(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (Path(value).is_absolute() or not Path(value).parts or ".." in Path(value).parts):
        raise click.BadParameter(f"expected the name of a folder in --runs, got {value!r}")
    return value


@click.command(
    cls=_Forwarded,
    epilog=examples(
        "alextrain --shards shards",
        "alextrain --recipe cifar10-19 --set training.epochs=40",
        "alextrain --recipe original --dry-run",
    ),
)
@shards_option()
@cache_options
@click.option(
    "--recipe",
    shell_complete=complete_recipe,
    default="original",
    show_default=True,
    help="A built-in recipe ('alextrain recipes' lists them), a TOML file, or a run's config.json.",
)
@click.option("--name", callback=_name_below_runs, help="Name of the run folder.  [default: the recipe's name]")
@click.option(
    "--runs",
    type=LocalPath(),
    default=Path("runs"),
    show_default=True,
    help="Parent folder of the run folders.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a recipe key, e.g. training.epochs=5; may be repeated.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of runs to train, NAME-seed0 …, with seeds from training.seed up; they are then evaluated together.",
)
@click.option("--change", is_flag=True, help="With --set: change the existing run from its current step on.")
@click.option("--restart", is_flag=True, help="Delete the run in the run folder and start over.")
@click.option(
    "--columns",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="Processes per network: 1 runs all columns, 2 run one column each.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option(
    "--dry-run", "only_forecast", is_flag=True, help="Run a few steps, print sizes and a forecast; keep nothing."
)
@click.option(
    "--bench-data", "only_loading", is_flag=True, help="Measure loading and print its bottleneck; train nothing."
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the result (also of --dry-run and --bench-data) as JSON; with --seeds, a line per run and one for all.",
)
@one_line_errors
def train(
    shards: Path,
    recipe: str,
    name: str | None,
    runs: Path,
    overrides: tuple[str, ...],
    seeds: int,
    change: bool,
    restart: bool,
    columns: int,
    device: str,
    only_forecast: bool,
    only_loading: bool,
    as_json: bool,
) -> None:
    """Train a network from a recipe.

    The same command resumes a stopped run, and reports a run that is already finished.
    """
    from ...model import load_recipe, wiring

    _require_train(shards)
    if change and (restart or only_forecast or only_loading or not overrides):
        raise click.UsageError("--change needs --set KEY=VALUE, and excludes --restart, --dry-run and --bench-data")
    chosen, history, folder = _recipe(recipe, name, runs, overrides, change)
    if (only_loading or only_forecast) and (seeds > 1 or restart):
        raise click.UsageError("--dry-run and --bench-data train nothing; leave out --seeds and --restart")
    if only_loading:
        if columns > 1 or only_forecast:
            raise click.UsageError("--bench-data measures a single loader; leave out --columns and --dry-run")
        keep_freed_memory(device)
        bench_data(chosen, shards, device, as_json)
        return
    if columns > 1 and seeds > 1:
        raise click.UsageError("--seeds trains in one process; leave out --columns")
    if restart and seeds > 1:
        raise click.UsageError(
            "--restart deletes one run: choose it with --name and --set training.seed, without --seeds"
        )
    if columns > 1 and "WORLD_SIZE" not in os.environ:
        from ...model.processes.launch import launch
        from ...model.processes.layout import check_processes

        check_processes(columns, columns, wiring(chosen.network).columns)
        raise SystemExit(launch("alexkit.cli.alextrain", click.get_current_context().meta[ARGUMENTS], columns))
    keep_freed_memory(device)
    if only_forecast:
        dry_run(load_recipe(recipe, overrides), shards, folder, device, columns, as_json)
        return
    restart = restart and not _begun_before(folder)
    if seeds == 1:
        _print_result(_train(chosen, shards, folder, device, columns, change, restart, history), folder, as_json)
        return
    if change or "WORLD_SIZE" in os.environ:
        raise click.UsageError("--seeds trains in one process and cannot change runs; leave out --change and torchrun")
    first = chosen.training.seed
    folders = {seed: folder.with_name(f"{folder.name}-seed{seed}") for seed in range(first, first + seeds)}
    for seed, own in folders.items():
        one, history, _ = _recipe(recipe, own.name, runs, (*overrides, f"training.seed={seed}"), change=False)
        _print_result(_train(one, shards, own, device, columns, change, restart, history), own, as_json)
    from ...model.training.run_data import validation_split

    split = validation_split(chosen, shards)
    if split is None:
        return  # every run has reported it
    from ..eval.evaluate import evaluate

    words = ["--shards", str(shards), "--split", split, "--device", device, *map(str, folders.values())]
    # As a subcommand, which inherits -q, -v, --debug and the URLs that local folders stand for.
    arguments = [*words, "--json"] if as_json else words
    evaluate.main(arguments, standalone_mode=False, parent=click.get_current_context())


def _require_train(shards: Path) -> None:
    """Raise InputError for a folder without a training set, before any other check of it."""
    from ...prep.format.shard_set import one_split

    if not shards.is_dir():
        raise InputError(f"--shards {shards}: no such folder; name one that 'alexprep shard' wrote")
    if (shards / "train").is_dir():
        return
    if (shards / "manifest.json").exists():
        raise InputError(f"--shards {one_split(shards)}")
    raise InputError(f"--shards {shards}: holds no train/; name a folder that 'alexprep shard' wrote")


def _begun_before(folder: Path) -> bool:
    """Whether Slurm or torchrun restarted this command, so that --restart would delete its own progress."""
    again = [key for key in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT") if os.environ.get(key, "0") != "0"]
    if again and os.environ.get("RANK", "0") == "0":
        note(f"{folder}: --restart is ignored: {again[0]} shows that this job was restarted")
    return bool(again)


def _train(
    recipe: "Recipe",
    shards: Path,
    folder: Path,
    device: str,
    columns: int,
    change: bool,
    restart: bool,
    history: "tuple[RecipeChange, ...]",
) -> dict[str, Any] | None:
    """Train one run to the end, showing progress; return its result, or None on ranks above 0."""
    from ...model import Trainer

    trainer = Trainer(
        recipe,
        shards,
        folder,
        device=device,
        processes_per_replica=columns,
        change=change,
        restart=restart,
        history=history,
    )
    try:
        if trainer.layout.rank > 0:
            trainer.run()
            return None
        if trainer.run_folder.result:
            by_error = trainer.run_folder.result["epochs"] < trainer.recipe.training.epochs
            key = "lower training.stop_at_train_error with --change" if by_error else "raise training.epochs"
            note(f"{folder} is finished; {key} to continue, or choose another --name to train again")
            result = trainer.run()
        else:
            if trainer.step:
                note(f"{folder}: resuming after step {trainer.step} of {trainer.num_steps}")
            start = time.monotonic()
            with progress("train", trainer.num_steps * recipe.training.batch_size, "images") as update:
                result = trainer.run(update, lambda line: note(f"{line}  {clock(time.monotonic() - start)}"))
    except KeyboardInterrupt:
        if trainer.saved_step:
            again = "the same command without --restart" if restart else "the same command"
            of = "this step" if trainer.saved_step == trainer.step else f"step {trainer.saved_step}"
            if_interrupted(f"a checkpoint of {of} is kept in {folder}; {again} resumes")
        raise
    finally:
        trainer.close()
    return result


def _recipe(
    recipe: str, name: str | None, runs: Path, overrides: tuple[str, ...], change: bool
) -> "tuple[Recipe, tuple[RecipeChange, ...], Path]":
    """The recipe to train, the changes that a new run makes to it at later steps, and the run folder.

    With `change`, the recipe is the existing run's with `overrides` applied.
    """
    from ...model import load_recipe
    from ...model.runs.load import change_recipe, load_base, load_start
    from ...model.runs.run import Run
    from ...model.training.effect import refuse_idle_keys

    given = click.get_current_context().get_parameter_source("recipe") is not ParameterSource.DEFAULT
    if not change:
        (plain, _), (chosen, history) = load_start(recipe), load_start(recipe, overrides)
        refuse_idle_keys(load_base(recipe), plain, where=recipe)
        refuse_idle_keys(plain, chosen, where="--set")
        return chosen, history, runs / (name or chosen.name)
    if name is None and not given:
        raise click.UsageError("--change needs the --name of the run to change, or its --recipe")
    folder = runs / (name or load_recipe(recipe).name)
    present = Run.open(folder).recipe_at()
    chosen = change_recipe(present, overrides)
    refuse_idle_keys(present, chosen, where="--set")
    return chosen, (), folder


def _print_result(result: dict[str, Any] | None, folder: Path, as_json: bool) -> None:
    if result is None:
        return
    if as_json:
        click.echo(json.dumps({"run": str(folder), **result}))
        return
    if "images" not in result:
        click.echo(f"trained for {result['epochs']} epochs, {result['steps']} steps; no validation")
    else:
        click.echo(f"validation, center crop, {result['images']} images after {result['epochs']} epochs:")
        top5 = f"   top-5 error {result['top5_error']:.2%}" if "top5_error" in result else ""
        click.echo(f"  top-1 error {result['top1_error']:.2%}{top5}")
        click.echo(f"  best top-1 error {result['best_top1_error']:.2%}")
    for picture in ("curves.png", "filters.png"):
        if (folder / picture).exists():
            click.echo(f"  {folder / picture}")
