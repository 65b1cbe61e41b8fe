"""`--dry-run` and `--bench-data`: forecast a run, or measure its loading, without training."""

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..terminal import note

if TYPE_CHECKING:
    from ...model import Recipe


def bench_data(recipe: "Recipe", shards: Path, device: str, as_json: bool) -> None:
    """Measure reading, decoding and loading, and print what limits them."""
    from ...model.network.precision import use_device
    from ...pipeline.throughput import measure_throughput

    found = measure_throughput(
        shards / "train",
        batch_size=recipe.training.batch_size,
        augment=recipe.data.augment(),
        device=str(use_device(device)),
    )
    if as_json:
        click.echo(json.dumps({"images_per_s": asdict(found), "limit": found.limit()}))
        return
    click.echo("\n".join(found.lines()))


def _without_missing_start(recipe: "Recipe", runs: Path) -> "tuple[Recipe, str | None]":
    """The recipe without its `start_from` if there are no weights yet, and the name of what has none."""
    from ...model.runs.checkpoint import checkpoint_folders
    from ...model.runs.run import CHECKPOINTS
    from ...model.runs.weights import find_start

    start = recipe.training.start_from
    path = find_start(start, runs)
    if not start or path.is_file() or checkpoint_folders(path / CHECKPOINTS):
        return recipe, None
    return replace(recipe, training=replace(recipe.training, start_from="", start_layers=())), start


def dry_run(recipe: "Recipe", shards: Path, folder: Path, device: str, columns: int, as_json: bool) -> None:
    """Run a few steps in a scratch folder, print the layer sizes and a forecast of the run, and keep nothing."""
    from ...model import Trainer
    from ...model.network.precision import precision_name
    from ...model.training.forecast import forecast, table

    # Sizes and speed do not depend on the initial weights, so a chain can be planned before any of it is trained.
    timed, waits_for = _without_missing_start(recipe, folder.parent)
    # Beside the future run folder, which the processes of the run share on all machines.
    scratch, runs_are_new = folder.with_name(f".{folder.name}.dry-run"), not folder.parent.exists()
    first = int(os.environ.get("RANK", "0")) == 0
    if first:
        shutil.rmtree(scratch, ignore_errors=True)  # left by a killed dry run
    try:
        trainer = Trainer(timed, shards, scratch, device=device, processes_per_replica=columns)
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
    if waits_for:
        note(
            f"training.start_from = {waits_for!r}: no weights there yet; sizes, speed and memory are the same without "
            "them, but the run itself needs them"
        )
    precision = precision_name(recipe.training.precision, trainer.precision)
    if as_json:
        row = {"recipe": recipe.to_json(), "layers": [asdict(size) for size in trainer.learner.network.sizes]}
        row |= {"device": str(trainer.device), "precision": precision}
        click.echo(json.dumps({**row, "steps_per_epoch": len(trainer.loader), "forecast": asdict(expected)}))
        return
    click.echo(json.dumps(recipe.to_json(), indent=1))
    click.echo(table(trainer))
    training = recipe.training
    click.echo(f"{trainer.device}, {precision}, batch {training.batch_size}, {len(trainer.loader)} steps per epoch")
    click.echo(f"a step takes {expected.step_s:.3f} s: {training.batch_size / expected.step_s:.0f} images/s")
    click.echo(f"{training.epochs} epochs take about {expected.run_s / 3600:.1f} h, without validation")
    click.echo(f"memory at most {expected.memory}{', in each process' if columns > 1 else ''}")
    if columns > 1:
        click.echo(f"each process sends {expected.sent_bytes:,} bytes per step to the other column")
