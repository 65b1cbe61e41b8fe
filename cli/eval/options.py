"""Options that several commands of alexeval share, and what they choose."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...errors import InputError
from ..locations import SHARDS_TO_TRAIN

if TYPE_CHECKING:
    from ...model import TrainedNetwork

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)

run_argument = click.argument("run", type=PATH)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
batch_size_option = click.option(
    "--batch-size", default=64, show_default=True, type=click.IntRange(1), help="Images, or views of images, at once."
)


def shards_option(help: str) -> Callable[[Command], Command]:
    """--shards: the set to read, ./shards unless named here or in ALEXKIT_SHARDS."""
    return click.option(
        "--shards",
        type=SHARDS_TO_TRAIN,
        default="shards",
        show_default=True,
        envvar="ALEXKIT_SHARDS",
        show_envvar=True,
        help=help,
    )


def _checkpoint(context: click.Context, parameter: click.Parameter, value: str) -> str | int:
    if value in ("last", "best"):
        return value
    if value.isdecimal():
        return int(value)
    raise click.BadParameter(f"{value!r} is neither last nor best nor the number of a step")


checkpoint_option = click.option(
    "--checkpoint",
    callback=_checkpoint,
    metavar="last|best|STEP",
    default="last",
    show_default=True,
    help="Which checkpoint of a run folder.",
)


def network_options(command: Command) -> Command:
    """--checkpoint and --recipe: which weights, and for a weights file what feeds them."""
    command = click.option(
        "--recipe", help="For a weights file: the recipe that feeds it, built in, a TOML file or a run's config.json."
    )(command)
    return checkpoint_option(command)


def load(
    run: Path, checkpoint: str | int, recipe: str | None, device: str, shards: Path | None = None
) -> "TrainedNetwork":
    """The network that RUN and the options name; `shards` tell what a weights file does not."""
    from ...model import load_network

    return load_network(run, checkpoint, recipe=recipe, shards=shards, device=device)  # type: ignore[arg-type]


def require_folder(option: str, path: Path | None) -> None:
    """Raise InputError for a file to be written whose folder is not there, before any work."""
    if path is not None and not path.absolute().parent.is_dir():
        raise InputError(f"{option} {path}: no such folder; make {path.parent} first")
