"""alexeval push: upload a run to the Hugging Face Hub."""

import logging
import os
from pathlib import Path
from typing import Any

import click

from ...errors import InputError
from ..terminal import examples, if_interrupted, is_set, one_line_errors
from .options import PATH, checkpoint_option, run_argument


@click.command(
    short_help="Upload a run to the Hugging Face Hub, private by default.",
    epilog=examples(
        "alexeval push runs/original my-name/my-alexnet",
        "alexeval push runs/original my-name/my-alexnet --metrics report/metrics.json",
    ),
)
@run_argument
@click.argument("name", metavar="ORG/NAME")
@click.option("--public", is_flag=True, help="Make a new repository public.")
@click.option("--metrics", type=PATH, help="metrics.json of 'alexeval RUN --report', whose numbers the card shows.")
@checkpoint_option
@one_line_errors
def push(run: Path, name: str, public: bool, metrics: Path | None, checkpoint: str | int) -> None:
    """Upload RUN to the Hugging Face Hub, private by default.

    Uploads the recipe, statistics, log, result, pictures, one checkpoint, which replaces others in the repository, and
    a model card built from the metrics; a README.md of your own is kept. The repository is a run folder: after 'hf
    download', alexeval reads it and alextrain resumes it.
    """
    from ...hub import CARD_NAME, files_there, has_card_of_its_own, push_folder
    from ...model.evaluation.load import choose_checkpoint
    from ...model.evaluation.report.card import model_card
    from ...model.runs.run import CHECKPOINTS, CONFIG, LOG, PICTURES, RESULT, STATISTICS, Run

    opened = Run.open(run)
    chosen = choose_checkpoint(run, checkpoint)  # type: ignore[arg-type]
    card: str | None = model_card(
        opened, chosen.step, None if metrics is None else _read(metrics, run, chosen.folder), name
    )
    start_from = opened.recipe.training.start_from
    if Path(start_from).is_absolute():
        logging.getLogger("alexkit").warning(
            "%s: contains %s (training.start_from), visible to all who can read the repository",
            run / CONFIG,
            start_from,
        )
    if is_set("quiet"):
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read when huggingface_hub is imported
    if_interrupted("uploaded files stay on the Hub; the same command continues")
    there = files_there(name, kind="model")
    if has_card_of_its_own(name, there, kind="model"):
        logging.getLogger("alexkit").warning("%s: its %s was not written by alexkit and is kept", name, CARD_NAME)
        card = None
    sent = f"{CHECKPOINTS}/{chosen.folder.name}/"
    files = [CONFIG, STATISTICS, LOG, RESULT, *PICTURES, *(f"{sent}{path.name}" for path in chosen.folder.iterdir())]
    # Of several checkpoints, readers would load the newest, which the card may not describe.
    old = [path for path in there if path.startswith(f"{CHECKPOINTS}/") and not path.startswith(sent)]
    click.echo(push_folder(run, name, kind="model", public=public, card=card, files=files, delete=old))


def _read(path: Path, run: Path, checkpoint: Path) -> dict[str, Any]:
    """Read the metrics; InputError if they are not of exactly this checkpoint."""
    import hashlib

    from ...model.runs.checkpoint import WEIGHTS
    from ...model.runs.run import read_json

    if not path.is_file():
        raise InputError(f"--metrics {path}: no such file; name the metrics.json that 'alexeval --report' wrote")
    metrics = read_json(path)
    try:
        first = metrics["rows"][0]
        found, split = first["checkpoint"]["sha256"], metrics["split"]
    except (KeyError, IndexError, TypeError):
        found = split = None
    if not isinstance(found, str) or not isinstance(split, str):
        raise InputError(
            f"--metrics {path}: not the metrics of a run; name the metrics.json that 'alexeval --report' wrote"
        )
    if metrics.get("labels") is not None:
        raise InputError(f"--metrics {path}: is by the labels of {metrics['labels']}; evaluate without --labels")
    with (checkpoint / WEIGHTS).open("rb") as file:
        sent = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sent:
        raise InputError(
            f"--metrics {path}: of other weights ({first['name']}, step {first['checkpoint'].get('step')}) than the "
            f"uploaded {checkpoint.name} of {run}; evaluate this checkpoint with --report, or upload the other with "
            "--checkpoint"
        )
    return metrics
