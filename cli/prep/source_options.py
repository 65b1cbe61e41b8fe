"""Source options shared by several commands, and the printed summary of what was found."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from .arguments import some_classes

if TYPE_CHECKING:
    from ...prep.sources import Source, SourceSplit

# Written out, since importing them from prep.sources would load every reader for --help; a test compares the two.
LAYOUTS = (
    *("cifar", "class-folders", "class-tars", "flat", "idx", "ilsvrc", "img2dataset"),
    *("kaggle", "list", "lmdb", "npz", "parquet", "recordio", "stl10", "tfrecord", "tiny-imagenet", "webdataset"),
)
_OPTIONS = (
    click.option("--layout", type=click.Choice(LAYOUTS), help="Layout of SOURCE, if more than one fits."),
    click.option("--label-key", metavar="KEY", help="JSON key, member extension or column that holds the label."),
    click.option(
        "--image-column",
        metavar="NAME",
        help="Image column in tables, lists and TFRecords; in tars, extension of the image member.",
    ),
    click.option(
        "--label-column",
        metavar="NAME",
        help="Label column in tables, lists and TFRecords; for CIFAR-100, fine (the default) or coarse.",
    ),
    click.option(
        "--label-pattern",
        metavar="REGEX",
        help="Regex for labels in the file names of images in one folder: '(.+)_[0-9]+' labels pug_12.jpg as pug.",
    ),
    click.option(
        "--image-root",
        metavar="FOLDER",
        help="Folder or URL that a list's relative paths start from.  [default: the list's folder]",
    ),
    click.option(
        "--class-depth",
        type=click.IntRange(1, 2048),
        metavar="N",
        help="Number of folder levels that form a class name.  [default: all]",
    ),
    click.option("--unlabeled", is_flag=True, help="Also store images without labels, all in one class."),
    click.option(
        "--val-fraction",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="F",
        help="Fraction of each class to hold out as a val split.",
    ),
    click.option(
        "--keep", metavar="NAMES", help="Members, columns or files to store with each image, e.g. caption,json."
    ),
)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the source options, which it receives as `reading`, a SourceOptions."""

    @functools.wraps(command)
    def wrapped(
        *args: Any,
        layout: Any,
        label_key: str | None,
        image_column: str | None,
        label_column: str | None,
        label_pattern: str | None,
        image_root: str | None,
        class_depth: int | None,
        unlabeled: bool,
        val_fraction: float | None,
        keep: str | None,
        **others: Any,
    ) -> Any:
        from ...prep.sources import SourceOptions

        reading = SourceOptions(
            layout=layout,
            label_key=label_key,
            image_column=image_column,
            label_column=label_column,
            label_pattern=label_pattern,
            image_root=image_root,
            class_depth=class_depth,
            unlabeled=unlabeled,
            val_fraction=val_fraction,
            keep=tuple(name.strip() for name in keep.split(",")) if keep else (),
        )
        return command(*args, reading=reading, **others)

    decorated: Callable[..., Any] = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def found_lines(source: "Source") -> Iterator[str]:
    """What was recognized: layout, splits, classes and their order, what was passed over, notes."""
    yield f"found {source.description}"
    for split in source.splits:
        yield f"  {split.name:6}{_counted(split.images, 10, 'image')}{_counted(split.classes, 8, 'class')}".rstrip()
    yield f"  {_classes(source.splits[0])}"
    for line in source.passed_over:
        yield f"  passed over: {line}"
    for line in source.notes:
        yield f"note: {line}"


def _counted(things: Sequence[object], width: int, what: str) -> str:
    """`    1 image ` or `    2 images`, so that columns stay in line."""
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{len(things):>{width},} {what if len(things) == 1 else plural:{len(plural)}}"


def _classes(split: "SourceSplit") -> str:
    orders = {
        "text": "sorted as text",
        "numbers": "in the order of their numbers",
        "table": "in the order of the source",
    }
    ids = [entry.id for entry in split.classes]
    return f"{_counted(ids, 0, 'class').strip()}, {orders[split.class_order]}: {some_classes(ids)}"


def found_row(source: "Source") -> dict[str, object]:
    """The same as `found_lines`, as plain data."""
    return {
        "found": source.description,
        "splits": [
            {"split": split.name, "images": len(split.images), "images_per_class": split.images_per_class()}
            for split in source.splits
        ],
        "classes": [{"id": entry.id, "name": entry.name} for entry in source.splits[0].classes],
        "class_order": source.splits[0].class_order,
        "passed_over": list(source.passed_over),
        "notes": list(source.notes),
    }
