"""alexprep adopt: make a shard set of existing WebDataset tars, which stay in place."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import InputError
from ..locations import LocalPath
from ..terminal import examples, note, one_line_errors, progress
from .arguments import FOLDER, set_row, some_classes, without_images

if TYPE_CHECKING:
    from ...prep import ShardSet


@click.command(epilog=examples("alexprep adopt their-tars adopted", "alexprep adopt their-tars theirs --json"))
@click.argument("tars", type=FOLDER)
@click.argument("folder", type=FOLDER)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="train",
    show_default=True,
    help="Split that the tars hold.",
)
@click.option("--classes", type=LocalPath(), help="Text file with one class name per line, in class order.")
@click.option("--label-key", metavar="KEY", help="JSON key or member extension that holds the label.")
@click.option("--image-column", metavar="NAME", help="Member extension of the image, if samples hold several images.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary of the set as JSON.")
@one_line_errors
def adopt(
    tars: Path,
    folder: Path,
    split: str,
    classes: Path | None,
    label_key: str | None,
    image_column: str | None,
    as_json: bool,
) -> None:
    """Make a shard set in FOLDER from existing WebDataset TARS.

    FOLDER gets links to the tars, which stay in place, unchanged. All images (JPEG, PNG or WebP) must be square and of
    the same size, each with one label: a class number or name in KEY.cls or KEY.json. For other tars, use 'alexprep
    shard'. Class names are sorted as text unless --classes lists them; use the same file for every split.
    """
    from ...prep import ShardSet
    from ...prep.build.adopt import adopt_webdataset, tars_of

    try:
        names = None if classes is None else classes.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as error:
        raise InputError(
            f"--classes {classes}: {error.strerror}; expected a text file with one class name per line"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"--classes {classes}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    total = sum(path.stat().st_size for path in tars_of(tars, split)) // 2**20
    with progress("adopting", total, "MB") as update:
        adopt_webdataset(
            tars,
            folder,
            split=split,
            class_names=names,
            label_key=label_key,
            image_column=image_column,
            on_progress=lambda num_bytes: update(num_bytes // 2**20),
        )
    shard_set = ShardSet.open(folder)
    for line in _found(shard_set):
        note(line)
    if as_json:
        click.echo(json.dumps(set_row(shard_set.manifest, folder)))
    else:
        click.echo(f"{folder} is a shard set; to see it: {shlex.join(['alexprep', 'inspect', str(folder)])}")


def _found(shard_set: "ShardSet") -> Iterator[str]:
    """The images and classes of the set, and a note if some classes have no images, since labels may start at 1."""
    ids = [entry.id for entry in shard_set.manifest.classes]
    num_images = shard_set.manifest.num_samples
    yield f"{shard_set.manifest.split}: {num_images:,} images, {len(ids):,} classes: {some_classes(ids)}"
    if empty := without_images(shard_set):
        yield f"note: {empty}"
