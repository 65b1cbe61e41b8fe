"""alexprep shard: turn a source into shard sets."""

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ...cores import num_cores
from ...errors import InputError
from ..locations import LOCATION
from ..terminal import clock, examples, if_interrupted, note, one_line_errors, progress
from .arguments import ENGINE, WORKERS, set_row, without_images
from .source_options import found_lines, found_row, source_options

if TYPE_CHECKING:
    from ...prep.build.build import BuildOptions, BuiltSplit, OnProgress
    from ...prep.build.forecast import Forecast
    from ...prep.build.stores.shared_run import SharedRun
    from ...prep.format.pixel_options import Chroma, Decode, Filter, Fit, ImageFormat
    from ...prep.sources import SourceOptions, SourceSplit
    from ...prep.storage import Location
    from ...prep.workers import Engine


def _part(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    number, slash, count = value.partition("/")
    digits = all(len(word) < 10 and word.isascii() and word.isdecimal() for word in (number, count))
    if not (slash and digits and int(number) < int(count)):
        raise click.BadParameter(f"expected I/N with I from 0 to N - 1, such as 0/4, got {value!r}")
    return int(number), int(count)


@click.command(
    epilog=examples("alexprep shard /imagenet", "alexprep shard photos.csv --size 128 --format raw --out small")
)
@click.argument("source", type=LOCATION)
@click.option(
    "--out",
    type=LOCATION,
    default="shards",
    show_default=True,
    help="Folder or URL to write the shard sets to.",
)
@click.option(
    "--size", type=click.IntRange(8, 4096), default=256, show_default=True, help="Side of the stored square, in pixels."
)
@click.option(
    "--fit",
    type=click.Choice(["crop", "shorter"]),
    default="crop",
    show_default=True,
    help="Store the central square, or the whole image with its shorter side at --size.",
)
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="JPEG quality.")
@click.option(
    "--chroma", type=click.Choice(["420", "444"]), default="420", show_default=True, help="JPEG chroma subsampling."
)
@click.option(
    "--filter",
    "filter_",
    type=click.Choice(["bilinear", "bicubic", "lanczos", "area"]),
    default="bilinear",
    show_default=True,
    help="Antialiased resizing filter; area is the one of the 2012 preparation.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jpeg", "png", "raw"]),
    default="jpeg",
    show_default=True,
    help="Storage format; raw pixels load fastest and take six times the space.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the shuffle.")
@click.option(
    "--images-per-shard",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Images per tar; the last may have fewer.",
)
@WORKERS
@ENGINE
@click.option("--part", metavar="I/N", default=None, callback=_part, help="Write only part I of N; I counts from 0.")
@click.option("--max-bad", type=click.IntRange(0), help="Bad inputs allowed per split.  [default: 0.1 %, at least 10]")
@click.option("--lenient", is_flag=True, help="Keep damaged JPEGs as the decoder patches them, and count them.")
@click.option("--dry-run", is_flag=True, help="Print what was found in SOURCE, and stop.")
@click.option(
    "--decode",
    type=click.Choice(["full", "scaled"]),
    default="full",
    show_default=True,
    help="scaled decodes large JPEGs at 1/2, 1/4 or 1/8, never below twice --size.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1, 2**40),
    default=None,
    help="Maximum number of pixels in a source image.  [default: what fits in 1 GiB]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON; the table goes to stderr.")
@one_line_errors
@source_options
def shard(
    source: "Location",
    out: "Location",
    size: int,
    fit: "Fit",
    quality: int,
    chroma: "Chroma",
    filter_: "Filter",
    format_: "ImageFormat",
    seed: int,
    images_per_shard: int,
    workers: int | None,
    engine: "Engine",
    part: tuple[int, int] | None,
    max_bad: int | None,
    lenient: bool,
    dry_run: bool,
    decode: "Decode",
    max_pixels: int | None,
    as_json: bool,
    reading: "SourceOptions",
) -> None:
    """Turn SOURCE into shard sets under --out, one per split.

    SOURCE is read in place, and its layout is detected. These are supported (docs: "Layouts", with examples):

    \b
      train/ val/ test/   split folders, also named training, valid, validation, dev, testing; in each
      class folders       cat/1.jpg, nested animal/cat/1.jpg, cat/images/1.jpg; also in a .zip
      flat images         labeled by val_annotations.txt, LOC_val_solution.csv, SPLIT.txt or the devkit
      class tars          n01440764.tar; other names with --layout class-tars
      WebDataset shards   KEY.jpg with KEY.cls or KEY.json; train-00000.tar
      parquet files       an image column and a label column; train-00000-of-00002.parquet
      TFRecord files      of tf.train.Example, also of TFDS; train-00000-of-01024, x.tfrecord
      RecordIO files      of MXNet: train.rec, with train.idx and train.lst or synset.txt if there
      LMDB databases      of Caffe: ilsvrc12_train_lmdb/data.mdb
      img2dataset         its folders or tars
      ILSVRC's archives   ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the devkit
      Kaggle's ILSVRC     ILSVRC/Data/CLS-LOC and its label files; Tiny ImageNet as downloaded
      arrays              CIFAR, MNIST, STL-10 and MedMNIST as downloaded
      a list              .csv, .tsv or .jsonl with path, label and optional split; .txt with lines PATH LABEL

    First the command prints what it found, the name of each split and what it passed over; --dry-run stops there.
    Before a large run it forecasts size and time. To continue an interrupted run, run the same command again; a
    complete run is left unchanged. Several machines can share a run: each writes its --part to a shared disk or store,
    or --engine ray spreads the work over a Ray cluster (RAY_ADDRESS).
    """
    _refuse_what_is_of_jpegs(format_)
    if not isinstance(source, Path) or source.exists():  # a mistake is one line
        note(f"listing {source}")  # before our imports, and since a large source takes a while
    if not dry_run and engine == "local":
        from ...prep.workers import start_ahead

        start_ahead()  # before our own imports, so that both processes load their libraries at the same time
    from ...prep.build.build import BuildOptions
    from ...prep.build.stores.scratch import scratch_folder
    from ...prep.build.stores.shared_run import SharedRun
    from ...prep.format.pixel_options import PixelOptions

    options = BuildOptions(
        pixels=PixelOptions(
            size_px=size,
            fit=fit,
            filter=filter_,
            format=format_,
            quality=quality,
            chroma=chroma,
            lenient=lenient,
            decode=decode,
            max_pixels=max_pixels,
        ),
        seed=seed,
        images_per_shard=images_per_shard,
        num_workers=num_cores() if workers is None else workers,
        engine=engine,
        part=part,
        max_bad=max_bad,
    )
    if isinstance(out, Path):
        _shard(source, out, None, options, reading, dry_run=dry_run, as_json=as_json)
        return
    with scratch_folder(out) as folder:
        shared = SharedRun(out, folder)
        if not dry_run:
            shared.pull()
        try:
            _shard(source, folder, shared, options, reading, dry_run=dry_run, as_json=as_json)
        except InputError as error:  # the user knows only the URL
            raise InputError(str(error).replace(str(folder), str(out))) from None


def _refuse_what_is_of_jpegs(format_: "ImageFormat") -> None:
    context = click.get_current_context()
    for name in ("quality", "chroma"):
        if format_ != "jpeg" and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name} is for JPEG; leave it out with --format {format_}")


def _shard(
    source: "Location",
    folder: Path,
    shared: "SharedRun | None",
    options: "BuildOptions",
    reading: "SourceOptions",
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build into `folder`, or into the store of `shared` with `folder` as scratch."""
    import json

    from ...prep.build.build import build_shards
    from ...prep.build.kept_listing import source_of_part
    from ...prep.sources import open_source

    part = options.part
    if part is None or dry_run:
        found = open_source(source, reading, out=folder if shared is None else shared.url)
    else:
        found = source_of_part(source, reading, folder)
    if dry_run and as_json:
        click.echo(json.dumps(found_row(found)))
        return
    for line in found_lines(found):
        if dry_run:
            click.echo(line)
        else:
            note(line)
    if dry_run:
        return
    kept_in = folder if shared is None else shared.url
    if_interrupted(f"finished shards are kept in {kept_in}; the same command continues")
    with ShownProgress() as shown:
        built = build_shards(
            found,
            folder,
            options,
            on_split=shown.start,
            on_forecast=partial(_show_forecast, options.pixels.size_px),
            shared=shared,
        )
    if len(built) < len(found.splits):
        note("this part is done; the sets are complete once all parts are, or after a run without --part")
    click.echo(_summary(built), err=as_json)
    if as_json:
        click.echo(json.dumps({"splits": [_summary_row(split) for split in built]}))


class ShownProgress:
    """One progress line per split, closed when the next split starts."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "ShownProgress":
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def start(self, split: "SourceSplit") -> "OnProgress":
        """Start the line of `split`."""
        self._open.close()
        update = self._open.enter_context(progress(split.name, len(split.images), "images"))
        return lambda done, num_bad: update(done, f"{num_bad} bad")


def _show_forecast(size_px: int, forecast: "Forecast") -> None:
    size, time = f"{forecast.num_bytes / 1e9:.1f} GB", clock(forecast.seconds)
    note(f"forecast: {forecast.num_images} images, about {size} and {time}")
    if 0 < (largest_px := forecast.largest_px) < size_px:
        note(
            f"no image tried has more than {largest_px} px on its shorter side: all will be enlarged to {size_px}; "
            f"consider --size {largest_px} or smaller"
        )


def _summary_row(built: "BuiltSplit") -> "dict[str, Any]":
    """One finished split as plain data; `bad` inputs were quarantined, `patched` ones kept by --lenient."""
    from ...prep.reports.reasons import commonest_reasons

    manifest = built.shard_set.manifest
    return {
        **set_row(manifest, built.shard_set.location),
        "bad": len(manifest.quarantined),
        "reasons": [
            {"count": one.count, "source": one.example.source, "reason": one.example.reason}
            for one in commonest_reasons(manifest.quarantined)
        ],
        "patched": manifest.num_patched,
        "enlarged": manifest.num_enlarged,
        "warnings": manifest.warnings,
        "was_complete": built.already_complete,
    }


def _summary(built: "list[BuiltSplit]") -> str:
    lines = [f"{'split':6}{'images':>10}{'classes':>9}{'shards':>8}{'MB':>10}{'bad':>6}{'patched':>9}  folder"]
    for row in map(_summary_row, built):
        complete = "  (was complete)" if row["was_complete"] else ""
        lines.append(
            f"{row['split']:6}{row['images']:10}{row['classes']:9}{row['shards']:8}"
            f"{int(row['bytes']) / 1e6:10.1f}{row['bad']:6}{row['patched']:9}  {row['folder']}{complete}"
        )
    return "\n".join(lines + [note for split in built for note in _remarks(split)])


def _remarks(built: "BuiltSplit") -> list[str]:
    """What was left out of a split and why, and what was unusual about the images that were stored."""
    from ...prep.format.manifest import QUARANTINE_NAME
    from ...prep.reports.reasons import commonest_reasons

    manifest, lines = built.shard_set.manifest, []
    if manifest.quarantined:
        lines.append(
            f"{len(manifest.quarantined)} bad inputs are listed in {built.shard_set.location / QUARANTINE_NAME}"
        )
        for one in commonest_reasons(manifest.quarantined):
            lines.append(f"{one.count} x {one.example.reason}, e.g. {one.example.source}")
        if manifest.split == "train" and built.shard_set.url is None and (empty := without_images(built.shard_set)):
            lines.append(empty)
    if manifest.num_enlarged:
        lines.append(f"{manifest.num_enlarged} images are smaller than {manifest.pixels.size_px} px and were enlarged")
    if manifest.warnings:
        kinds = ", ".join(f"{text} ({count})" for text, count in manifest.warnings.items())
        lines.append(f"kept with a warning: {kinds}")
    if manifest.patched:
        worst = min(manifest.patched, key=lambda one: one.decoded_rows)
        lines.append(
            f"patched: {len(manifest.patched)}, worst: {worst.source}, {worst.decoded_rows:.0%} of its rows decoded"
        )
    return [f"note: {manifest.split}: {line}" for line in lines]
