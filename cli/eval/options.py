"""Options that several commands of alexeval share, and what they choose."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...errors import InputError
from ..locations import SHARDS_TO_TRAIN, LocalPath, complete_recipe
from ..memory import keep_freed_memory

if TYPE_CHECKING:
    from ...model import TrainedNetwork

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = LocalPath()

run_argument = click.argument("run", type=PATH)


def json_option(help: str) -> Callable[[Command], Command]:
    """--json: results on stdout for programs, in place of the table; what else a command says goes to stderr."""
    return click.option("--json", "as_json", is_flag=True, help=help)


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
    raise click.BadParameter(f"{value!r} is neither last nor best nor the number of a step")


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkChoice:
    """Which weights of a RUN, and how the network runs."""

    checkpoint: str | int
    """`last`, `best`, or a step."""
    recipe: str | None
    """For a weights file, what feeds it."""
    device: str = "cpu"
    """`auto`, `cpu` or `cuda:N`."""
    batch_size: int = 64
    """Images, or views of images, at once."""

    def load(self, run: Path, shards: Path | None = None) -> "TrainedNetwork":
        """The network of `run`; `shards` tell what a weights file does not."""
        from ...model import load_network

        keep_freed_memory(self.device)
        return load_network(
            run,
            self.checkpoint,  # type: ignore[arg-type]
            recipe=self.recipe,
            shards=shards,
            device=self.device,
        )


checkpoint_option = click.option(
    "--checkpoint",
    callback=_checkpoint,
    metavar="last|best|STEP",
    shell_complete=lambda context, parameter, typed: [one for one in ("last", "best") if one.startswith(typed)],
    default="last",
    show_default=True,
    help="Which checkpoint of a run folder.",
)
_WEIGHTS = (
    checkpoint_option,
    click.option(
        "--recipe",
        shell_complete=complete_recipe,
        help="For a weights file: the recipe that feeds it, built in, a TOML file or a run's config.json.",
    ),
)
_RUNNING = (
    click.option(
        "--batch-size",
        default=64,
        show_default=True,
        type=click.IntRange(1, 2**16),
        help="Images, or views of images, at once.",
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N."),
)


def weights_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--checkpoint and --recipe, which the command receives as `choice`."""
    return _with_choice(command, _WEIGHTS)


def network_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--checkpoint, --recipe, --batch-size and --device, which the command receives as `choice`."""
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


def require_folder(option: str, path: Path | None) -> None:
    """Raise InputError for a file to be written whose folder is not there, before any work."""
    if path is not None and not path.absolute().parent.is_dir():
        raise InputError(f"{option} {path}: no folder {path.parent}; make it first, or name another place")


def require_file(option: str, path: Path | None) -> None:
    """As `require_folder`, for one file: InputError for the name of a folder, too."""
    require_folder(option, path)
    if path is not None and path.is_dir():
        raise InputError(f"{option} {path}: a folder; name a file in it")
