"""URLs where a command takes a folder: shard sets, sources and outputs may lie in an object store."""

import itertools
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ..errors import InputError
from .terminal import note, stands_for, words

if TYPE_CHECKING:
    from ..prep.storage import StoreUrl

Command = TypeVar("Command", bound=Callable[..., Any])
COPY_THREADS = 8


class LocationType(click.Path):
    """A local path, or the URL of something in a store."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A Path or a StoreUrl."""
        from ..prep.storage import StoreUrl, parse_location

        location = _parsed(parse_location, value)
        return location if isinstance(location, StoreUrl) else super().convert(value, param, ctx)


class ShardsType(click.Path):
    """A local folder of shard sets, or a URL, which becomes `remote`: fetched when the command runs."""

    def __init__(self, remote: "type[CachedShards | CopiedShards]", *, file_okay: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=file_okay)
        self.remote = remote

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A Path, or a `remote`."""
        from ..prep.storage import StoreUrl, parse_location

        if isinstance(value, self.remote):
            return value  # converted before
        location = _parsed(parse_location, value)
        return self.remote(location) if isinstance(location, StoreUrl) else super().convert(value, param, ctx)


@dataclass(frozen=True)
class CachedShards:
    """Shard sets in a store that a command reads through the cache (see `pipeline.remote`)."""

    url: "StoreUrl"

    def fetch(self, context: click.Context) -> Path:
        """The local folder with their manifests; shards are downloaded when they are read."""
        from ..pipeline.remote import cache_folder, local_face

        face = local_face(self.url, cache_folder(None, where=self.url))
        stands_for(context, face, self.url)
        return face


@dataclass(frozen=True)
class CopiedShards:
    """Shard sets in a store that a command copies; the copy is removed when the command ends.

    With `--quick`, empty files of their sizes replace shards. Files that the command writes beside the copied ones,
    pages and pictures, are moved to the current folder.
    """

    url: "StoreUrl"

    def fetch(self, context: click.Context) -> Path:
        """The copy."""
        return copy_of(self.url, context, only_sizes=bool(context.params.get("quick")))


class LocalPath(click.Path):
    """A path on this machine; a URL is refused, since as a path it would become a folder `s3:`."""

    def __init__(self, *, file_okay: bool = True, exists: bool = False, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=file_okay, exists=exists, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        from ..prep.storage import local_path

        try:
            local_path(value)
        except InputError as error:
            self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


def copy_of(url: "StoreUrl", context: click.Context, *, keep_new: bool = True, only_sizes: bool = False) -> Path:
    """A copy of the shard sets at `url` until the running command ends.

    Files that the command writes beside it are moved to the current folder then, unless `keep_new` is False. With
    `only_sizes`, shards in it have no content.
    """
    from ..prep.format.temporary import temporary_folder

    folder = context.with_resource(temporary_folder("alexkit-copy-"))
    copy = folder / "set" / url.name
    copied: set[Path] = set()
    stands_for(context, copy, url, is_copy=True)
    context.call_on_close(lambda: _finish(folder, copy, copied if keep_new else set()))
    note(f"{url}: copied to {copy} while this command runs{', without the content of shards' if only_sizes else ''}")
    copied |= _copy(url, copy, only_sizes=only_sizes)
    return copy


LOCATION = LocationType()
SHARDS_TO_TRAIN = ShardsType(CachedShards)
SHARDS_TO_READ = ShardsType(CopiedShards, file_okay=False)


def _set_variable(name: str) -> Any:
    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value:
            os.environ[name] = value  # for the processes that this command starts, too

    return callback


def shards_option(
    help: str = "Folder or URL with train/ and val/, written by 'alexprep shard'.",
) -> Callable[[Command], Command]:
    """`--shards`: the sets to read through the cache; the default is $ALEXKIT_SHARDS, else ./shards."""
    return click.option(
        "--shards",
        type=SHARDS_TO_TRAIN,
        default="shards",
        show_default=True,
        envvar="ALEXKIT_SHARDS",
        show_envvar=True,
        help=help,
    )


def cache_options(command: Any) -> Any:
    """`--cache` and `--cache-limit`, which say the same as ALEXKIT_CACHE and ALEXKIT_CACHE_LIMIT."""
    limit = click.option(
        "--cache-limit",
        metavar="SIZE",
        expose_value=False,
        is_eager=True,
        callback=_set_variable("ALEXKIT_CACHE_LIMIT"),
        help="What the cache may hold, e.g. 20GB.  [env: ALEXKIT_CACHE_LIMIT; default: 9/10 of the free disk]",
    )
    folder = click.option(
        "--cache",
        metavar="FOLDER",
        expose_value=False,
        is_eager=True,
        callback=_set_variable("ALEXKIT_CACHE"),
        help="Where shards of a remote set are kept on this machine.  [env: ALEXKIT_CACHE]",
    )
    return folder(limit(command))


def _finish(folder: Path, copy: Path, copied: set[Path]) -> None:
    """Move what was written beside the `copied` files to the current folder.

    Raises ClickException if that fails; if the command is ending with an error of its own, both are shown.
    """
    ending = sys.exc_info()[1]
    try:
        for path in sorted(copy.rglob("*")):
            if copied and path.is_file() and path not in copied:
                name = _moved_here(path, "-".join(path.relative_to(copy).parts))
                note(f"{name}: here, since the shard set is remote")
    except OSError as error:
        kept = folder.rename(folder.with_name(folder.name.replace("copy", "kept")))  # a name that nobody removes
        failure = click.ClickException(f"{words(error)}; the written files are in {kept}")
        if ending is None or (isinstance(ending, SystemExit) and not ending.code):
            raise failure from None
        failure.show()


def _moved_here(path: Path, name: str) -> str:
    """Copy a file to the current folder as `name`, or with a number where that is taken; how it is called there."""
    stem = Path(name).stem
    for number in itertools.count(2):
        try:
            with Path(name).open("xb") as target, path.open("rb") as file:
                shutil.copyfileobj(file, target)
        except FileExistsError:
            name = f"{stem}-{number}{path.suffix}"
        except OSError:
            Path(name).unlink(missing_ok=True)  # half of it
            raise
        else:
            return name
    raise AssertionError


def _copy(url: Any, folder: Path, *, only_sizes: bool) -> set[Path]:
    """Copy the files of the shard sets at `url`, tars without content if `only_sizes`; the paths of the copies."""
    from ..prep.format.files import free_bytes
    from ..prep.format.shard_set import SPLITS
    from ..prep.storage import ObjectStore

    store = ObjectStore(url)
    listed = store.list_all()
    if not listed:
        raise InputError(f"{url}: nothing there")
    found = [one for one in listed if one.name.rpartition("/")[0] in ("", *SPLITS)]  # not the images of a source
    if not found:
        raise InputError(f"{url}: no shard set there; pass the URL that 'alexprep shard' wrote to")
    sizes = {one.name: one.num_bytes for one in found if only_sizes and one.name.endswith(".tar")}
    needed, free = sum(one.num_bytes for one in found if one.name not in sizes), free_bytes(folder.parent)
    if needed > free:
        raise InputError(f"{url}: {needed} bytes, and {gettempdir()} has room for {free}; set TMPDIR to a larger disk")

    def fetch(name: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name in sizes else store.read(name))
        if name in sizes:
            os.truncate(path, sizes[name])
        return path

    with ThreadPoolExecutor(COPY_THREADS) as threads:
        return set(threads.map(fetch, (one.name for one in found)))


def _parsed(act: Any, value: Any) -> Any:
    """`act(value)` where click converts values: before the command begins, which turns errors into one line."""
    try:
        return act(value)
    except (InputError, OSError, ImportError) as error:
        raise click.ClickException(words(error)) from None


def complete_recipe(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: names of built-in recipes, else files."""
    from ..model.runs.recipe_files import recipe_names

    names = [CompletionItem(name) for name in recipe_names() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]
