"""Options shared by several alexeval commands."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import InputError
from ...extras import require
from ..locations import SHARDS_TO_TRAIN, Command, LocalPath, complete_recipe
from ..memory import keep_freed_memory

if TYPE_CHECKING:
    from ...model import TrainedNetwork
    from ...model.runs.recipe import Precision

PATH = LocalPath()

run_argument = click.argument("run", type=PATH)
images_argument = click.argument("images", nargs=-1, required=True, metavar="IMAGE|FOLDER|URL|-...")


def json_option(help: str) -> Callable[[Command], Command]:
    """--json: print results to stdout as JSON instead of the table; all other output goes to stderr."""
    return click.option("--json", "as_json", is_flag=True, help=help)


training_shards_option = click.option(
    "--shards", type=SHARDS_TO_TRAIN, help="Training shards; used only with a weights file."
)


def split_option(default: str, help: str) -> Callable[[Command], Command]:
    """--split: which shard set of the folder."""
    return click.option(
        "--split", type=click.Choice(["train", "val", "test"]), default=default, show_default=True, help=help
    )


def _checkpoint(context: click.Context, parameter: click.Parameter, value: str) -> str | int:
    if value in ("last", "best"):
        return value
    if value.isdecimal():
        return int(value)
    raise click.BadParameter(f"expected last, best or the number of a step, got {value!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkChoice:
    """Which weights of a RUN, and how the network runs."""

    checkpoint: str | int
    """`last`, `best`, or a step."""
    recipe: str | None
    """For a weights file: its recipe, which defines the network and its input."""
    device: str = "cpu"
    """`auto`, `cpu` or `cuda:N`."""
    batch_size: int = 64
    """Images, or views of images, per batch."""
    precision: "Precision | None" = None
    """`auto`, `fp32`, `bf16` or `fp16`; None for the recipe's."""

    def load(self, run: Path, shards: Path | None = None) -> "TrainedNetwork":
        """Load the network of `run`; `shards` provides what a weights file lacks."""
        from ...model import load_network

        keep_freed_memory(self.device)
        return load_network(
            run,
            self.checkpoint,  # type: ignore[arg-type]
            recipe=self.recipe,
            shards=shards,
            device=self.device,
            precision=self.precision,
        )


checkpoint_option = click.option(
    "--checkpoint",
    callback=_checkpoint,
    metavar="last|best|STEP",
    shell_complete=lambda context, parameter, typed: [one for one in ("last", "best") if one.startswith(typed)],
    default="last",
    show_default=True,
    help="Checkpoint of a run folder to use.",
)
_WEIGHTS = (
    checkpoint_option,
    click.option(
        "--recipe",
        shell_complete=complete_recipe,
        help="For a weights file: a built-in recipe, a TOML file or a run's config.json.",
    ),
)
_RUNNING = (
    click.option(
        "--batch-size",
        default=64,
        show_default=True,
        type=click.IntRange(1, 2**16),
        help="Images, or views of images, per batch.",
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N."),
    click.option(
        "--precision",
        type=click.Choice(("auto", "fp32", "bf16", "fp16")),
        help="Precision of the multiplications; default: the recipe's, usually auto: bfloat16 on hardware with matrix "
        "units for it.",
    ),
)


def weights_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--checkpoint and --recipe, which the command receives as `choice`."""
    return _with_choice(command, _WEIGHTS)


def network_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--checkpoint, --recipe, --batch-size, --device and --precision, which the command receives as `choice`."""
    return _with_choice(command, _WEIGHTS + _RUNNING)


def _with_choice(
    command: Callable[..., Any], options: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...]
) -> Callable[..., Any]:
    names = NetworkChoice.__dataclass_fields__.keys()

    @wraps(command)
    def with_choice(**values: Any) -> Any:
        chosen = {name: values.pop(name) for name in names & values.keys()}
        return command(choice=NetworkChoice(**chosen), **values)

    for option in reversed(options):
        with_choice = option(with_choice)
    return with_choice


def no_image_read(num_images: int) -> InputError:
    """The error if none of these images could be read; the reason for each has been printed."""
    return InputError(f"no image could be read; see the reason{'s' * (num_images > 1)} above")


def require_folder(option: str, path: Path | None) -> None:
    """Raise InputError, before any work, if the output folder `path` cannot be created or written, or is a file."""
    if path is not None:
        if path.exists() and not path.is_dir():
            raise InputError(f"{option} {path}: is a file; name a folder")
        _require_writable(option, path, path if path.exists() else path.parent)


def require_file(option: str, path: Path | None) -> None:
    """Raise InputError, before any work, if the output file `path` cannot be written or is a folder."""
    if path is not None:
        if path.is_dir():
            raise InputError(f"{option} {path}: is a folder; name a file in it")
        is_special = path.exists() and not path.is_file()  # such as /dev/stdout, which is not replaced
        _require_writable(option, path, path if is_special else path.parent)


def require_picture(option: str, path: Path | None) -> None:
    """Like `require_file`, for a picture: also raise ImportError if Matplotlib is not installed."""
    require_file(option, path)
    if path is not None:
        require("matplotlib")


def _require_writable(option: str, path: Path, place: Path) -> None:
    """`place` is what must be writable for `path`: itself, or the folder that it will be in."""
    if place == path.parent and not place.is_dir():
        raise InputError(f"{option} {path}: no folder {place}; create it, or choose another path")
    if not os.access(place, os.W_OK):
        raise InputError(f"{option} {path}: no permission to write to {place}; choose another path")
