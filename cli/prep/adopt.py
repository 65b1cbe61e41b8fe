"""alexprep adopt: make a shard set of existing WebDataset tars, which stay in place."""

import json
import shlex
from pathlib import Path

import click

from ...errors import InputError
from ..locations import LocalPath
from ..terminal import examples, one_line_errors, progress
from .arguments import FOLDER, set_row


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
@click.option("--json", "as_json", is_flag=True, help="Print a summary of the set as JSON.")
@one_line_errors
def adopt(tars: Path, folder: Path, split: str, classes: Path | None, label_key: str | None, as_json: bool) -> None:
    """Make a shard set in FOLDER from existing WebDataset TARS.

    FOLDER gets links to the tars, which stay in place, unchanged. All images (JPEG, PNG or WebP) must be square and of
    the same size, each with one label: a class number or name in KEY.cls or KEY.json. For other tars, use 'alexprep
    shard'. Class names are sorted as text unless --classes lists them; use the same file for every split.
    """
    from ...prep import Manifest
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
            on_progress=lambda num_bytes: update(num_bytes // 2**20),
        )
    if as_json:
        click.echo(json.dumps(set_row(Manifest.read(folder), folder)))
    else:
        click.echo(f"{folder} is a shard set; to see it: {shlex.join(['alexprep', 'inspect', str(folder)])}")
