"""alexprep: images to shards and statistics."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .terminal import clock, one_line_errors, progress

if TYPE_CHECKING:
    from ..prep.build import BuiltSplit, OnProgress
    from ..prep.forecast import Forecast
    from ..prep.inputs import SourceSplit
    from ..prep.pca import ColourReport
    from ..prep.shard_set import ShardSet
    from ..prep.verify import Finding

FOLDER = click.Path(path_type=Path, file_okay=False)
FOLDER_OR_LIST = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def alexprep() -> None:
    """Prepare images: shards, statistics, checks."""


@alexprep.command()
@click.argument("source", type=FOLDER_OR_LIST)
@click.option("--out", type=FOLDER, default=Path("shards"), show_default=True, help="Where the shard sets go.")
@click.option("--size", default=256, show_default=True, help="Side of the stored square, pixels.")
@click.option("--fit", default="crop", show_default=True, help="crop: central square; shorter: the whole image.")
@click.option("--quality", default=95, show_default=True, help="JPEG quality, 1 to 100.")
@click.option("--chroma", type=click.Choice(["420", "444"]), default="420", show_default=True, help="JPEG chroma.")
@click.option("--filter", "filter_", default="bilinear", show_default=True, help="bilinear, bicubic, lanczos, area.")
@click.option("--format", "codec", default="jpeg", show_default=True, help="How images are stored: jpeg, png, raw.")
@click.option("--seed", default=0, show_default=True, help="Seed of the shuffle.")
@click.option("--images-per-shard", default=1000, show_default=True)
@click.option("--workers", type=int, default=None, help="Worker processes.  [default: one per CPU core]")
@click.option("--max-bad", type=int, default=None, help="Bad inputs allowed per split.  [default: 0.1 %, at least 10]")
@click.option("--lenient", is_flag=True, help="Keep damaged JPEGs as the decoder patches them; they are counted.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON; the table goes to stderr.")
@one_line_errors
def shard(
    source: Path,
    out: Path,
    size: int,
    fit: str,
    quality: int,
    chroma: str,
    filter_: str,
    codec: str,
    seed: int,
    images_per_shard: int,
    workers: int | None,
    max_bad: int | None,
    lenient: bool,
    as_json: bool,
) -> None:
    """Turn SOURCE into shard sets under --out, one per split.

    SOURCE holds train/ and val/ (or test/) with one folder per class, the class folders of one split, ILSVRC's
    archives, Kaggle's ILSVRC, parquet files (train-*.parquet) or WebDataset shards (train-*.tar); or it is a .csv or
    .jsonl list with path, label and perhaps split (train or val), whose relative paths stay in its folder. A large run
    begins with a forecast of its size and time. An interrupted run continues by the same command; a complete one is
    left as it is.
    """
    import json

    from ..prep.build import BuildOptions, build_shards
    from ..prep.manifest import PixelOptions
    from ..prep.source import open_source

    options = BuildOptions(
        pixels=PixelOptions(
            size_px=size, fit=fit, filter=filter_, codec=codec, quality=quality, chroma=chroma, strict=not lenient
        ),
        seed=seed,
        images_per_shard=images_per_shard,
        num_workers=num_cores() if workers is None else workers,
        max_bad=max_bad,
    )
    found = open_source(source)
    click.echo(f"found {found.description}", err=True)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    with ShownProgress() as shown:
        built = build_shards(found, out, options, on_split=shown.start, on_forecast=_show_forecast)
    click.echo(_summary(built), err=as_json)
    if as_json:
        click.echo(json.dumps({"splits": [_summary_row(split) for split in built]}))


@alexprep.command()
@click.argument("tars", type=FOLDER)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["train", "val"]), default="train", show_default=True, help="Of the tars.")
@one_line_errors
def adopt(tars: Path, folder: Path, split: str) -> None:
    """Make FOLDER a shard set of the WebDataset TARS made elsewhere, which stay where they are, unchanged.

    Their images must be square and of one size, with one class number (cls) each; 'alexprep shard' takes all others.
    """
    from ..pipeline import adopt_webdataset

    total = sum(path.stat().st_size for path in tars.glob("*.tar")) // 2**20
    with progress("adopting", total, "MB") as update:
        adopt_webdataset(tars, folder, split=split, on_progress=lambda num_bytes: update(num_bytes // 2**20))
    click.echo(f"{folder} is a shard set; 'alexprep inspect {folder}' shows it")


@alexprep.command()
@click.argument("shards", type=FOLDER, default=Path("shards"))
@click.option("--workers", type=int, default=None, help="Worker processes.  [default: one per CPU core]")
@one_line_errors
def pca(shards: Path, workers: int | None) -> None:
    """Mean and principal colours of SHARDS (./shards: its train split), from the stored pixels.

    Prints a table, compares with the statistics written with the shards, and writes pca.json, pca.png and mean.png
    beside the shards.
    """
    import json

    from ..prep.files import whole_file
    from ..prep.pca import report_colours, sample_pixels, stored_sums
    from ..prep.pca_plot import save_mean_image, save_pca_plot

    shard_set = _train_set(shards)
    manifest = shard_set.manifest
    with progress("adding up", manifest.num_samples, "images") as update:
        sums = stored_sums(shard_set, num_workers=num_cores() if workers is None else workers, on_progress=update)
    report = report_colours(shard_set, sums)
    with whole_file(shard_set.folder / "pca.json") as file:
        file.write(json.dumps(report.to_json(), indent=1, sort_keys=True).encode() + b"\n")
    save_mean_image(shard_set.folder / "mean.png", sums.mean_image_HWC())
    save_pca_plot(
        shard_set.folder / "pca.png",
        title=f"{manifest.num_samples} images, {manifest.split} split",
        colour=report.stored,
        mean_image_HWC=sums.mean_image_HWC(),
        pixels_PC=sample_pixels(shard_set),
    )
    click.echo(_colour_table(report, manifest.num_samples))
    for name in ("pca.json", "pca.png", "mean.png"):
        click.echo(f"wrote {shard_set.folder / name}")


@alexprep.command()
@click.argument("shards", type=FOLDER, default=Path("shards"))
@click.option("--png", is_flag=True, help="Also write a contact sheet, samples.png.")
@one_line_errors
def inspect(shards: Path, png: bool) -> None:
    """Write inspect.html beside SHARDS (./shards: its train split): samples by class, counts, colours, mixing."""
    from ..prep.files import whole_file
    from ..prep.inspect import contact_sheet, inspection_page, survey_set

    shard_set = _train_set(shards)
    survey = survey_set(shard_set)
    with whole_file(shard_set.folder / "inspect.html") as file:
        file.write(inspection_page(shard_set, survey).encode())
    click.echo(
        f"{len(survey.labels_N)} images in {len(survey.counts_K)} classes of {survey.counts_K.min()} to "
        f"{survey.counts_K.max()}; distinct classes in a batch: {survey.distinct_mean:.1f}, "
        f"{survey.distinct_ideal:.1f} expected of a perfect shuffle"
    )
    click.echo(f"wrote {shard_set.folder / 'inspect.html'}")
    if png:
        with whole_file(shard_set.folder / "samples.png") as file:
            contact_sheet(shard_set, survey).save(file, "PNG")
        click.echo(f"wrote {shard_set.folder / 'samples.png'}")


@alexprep.command()
@click.argument("shards", type=FOLDER)
@click.option("--quick", is_flag=True, help="Only names and sizes.")
@click.option("--decode", is_flag=True, help="Hashes, and every image decoded.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--workers", type=int, default=None, help="Worker processes.  [default: one per CPU core]")
@one_line_errors
def verify(shards: Path, quick: bool, decode: bool, as_json: bool, workers: int | None) -> None:
    """Check SHARDS, one set or the folder of several, against their manifests; by default sizes and hashes.

    Every finding names a file and, where it can be told, the sample and the byte. Exit code 1 if there is any.
    """
    import json
    from dataclasses import asdict

    if quick and decode:
        raise ValueError("--quick looks only at names and sizes, --decode at every image; give one of them")
    depth = "quick" if quick else "decode" if decode else "hashes"
    findings = {folder: _verify(folder, depth, workers) for folder in _sets_of(shards)}
    num_findings = sum(map(len, findings.values()))
    if as_json:
        click.echo(json.dumps({str(folder): [asdict(one) for one in found] for folder, found in findings.items()}))
    else:
        for folder, found in findings.items():
            for finding in found:
                click.echo(f"{folder}/{finding}")
        click.echo(f"findings: {num_findings}" if num_findings else "all good")
    raise SystemExit(1 if num_findings else 0)


@alexprep.command()
@click.argument("shards", type=FOLDER)
@click.argument("source", type=FOLDER_OR_LIST)
@click.option("--workers", type=int, default=None, help="Worker processes.  [default: one per CPU core]")
@one_line_errors
def repair(shards: Path, source: Path, workers: int | None) -> None:
    """Find what is damaged in SHARDS and make only that again from SOURCE, to the same bytes."""
    from ..prep import Manifest
    from ..prep.repair import damaged_shards, repair_set
    from ..prep.source import open_source

    found_source = open_source(source)
    for folder in _sets_of(shards):
        findings = _verify(folder, "hashes", workers)
        if not findings:
            click.echo(f"{folder}: all good")
            continue
        shards_to_make = damaged_shards(Manifest.read(folder), findings)
        with progress("repairing", sum(entry.num_samples for entry in shards_to_make), "images") as update:
            names = repair_set(
                folder,
                found_source,
                findings,
                num_workers=num_cores() if workers is None else workers,
                on_progress=update,
            )
        click.echo(f"{folder}: made again {', '.join(names)}")


def _train_set(shards: Path) -> "ShardSet":
    """SHARDS itself, or its train split."""
    from ..prep import ShardSet

    inner = shards / "train"
    return ShardSet.open(inner if inner.is_dir() and not (shards / "manifest.json").exists() else shards)


def _sets_of(shards: Path) -> list[Path]:
    from ..prep.shard_set import SPLITS

    return [shards / split for split in SPLITS if (shards / split).is_dir()] or [shards]


def _verify(folder: Path, depth: str, workers: int | None) -> "list[Finding]":
    from ..prep import Manifest
    from ..prep.verify import verify_set

    with progress(f"checking {folder.name}", Manifest.read(folder).num_samples, "images") as update:
        return verify_set(
            folder, depth=depth, num_workers=num_cores() if workers is None else workers, on_progress=update
        )


@alexprep.command()
@click.option("--out", type=FOLDER, default=Path("shards"), show_default=True, help="Where shards would go.")
@one_line_errors
def doctor(out: Path) -> None:
    """Check this machine: libraries, driver, decoding, limits, disk; exit code 1 if something needs mending."""
    from ..prep.doctor import examine

    checks = examine(out)
    width = max(len(check.name) for check in checks)
    for check in checks:
        click.echo(f"{'!!' if check.mend else 'ok'}  {check.name:{width}}  {check.found}")
        if check.mend:
            click.echo(f"{'':{width + 6}}→ {check.mend}")
    raise SystemExit(any(check.mend for check in checks))


@alexprep.command("demo-images")
@click.argument("folder", type=FOLDER)
@click.option("--seed", default=0, show_default=True)
@click.option("--train", "num_train", default=1500, show_default=True, help="Training images.")
@click.option("--val", "num_val", default=300, show_default=True, help="Validation images.")
@click.option("--workers", type=int, default=None, help="Worker processes.  [default: one per CPU core]")
@one_line_errors
def demo_images(folder: Path, seed: int, num_train: int, num_val: int, workers: int | None) -> None:
    """Draw the demo set into FOLDER: ten classes of photograph-like images."""
    from ..prep.demo import draw_demo_images

    with progress("drawing", num_train + num_val, "images") as update:
        draw_demo_images(
            folder,
            seed=seed,
            num_train=num_train,
            num_val=num_val,
            workers=num_cores() if workers is None else workers,
            on_progress=lambda done, total: update(done),
        )
    click.echo(f"{num_train} training and {num_val} validation images in {folder}")


class ShownProgress:
    """One progress line per split that is built, closed when the next one starts."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "ShownProgress":
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def start(self, split: "SourceSplit") -> "OnProgress":
        """Open the line of `split`."""
        self._open.close()
        update = self._open.enter_context(progress(split.name, len(split.images), "images"))
        return lambda done, num_bad: update(done, f"{num_bad} bad")


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _show_forecast(forecast: "Forecast") -> None:
    size, time = f"{forecast.num_bytes / 1e9:.1f} GB", clock(forecast.seconds)
    click.echo(f"forecast: {forecast.num_images} images, about {size} and {time}", err=True)


def _summary_row(built: "BuiltSplit") -> "dict[str, str | int]":
    """One finished split as plain data; `bad` inputs were quarantined, `patched` ones kept by --lenient."""
    manifest = built.shard_set.manifest
    return {
        "split": manifest.split,
        "images": manifest.num_samples,
        "classes": len(manifest.classes),
        "shards": len(manifest.shards),
        "bytes": sum(entry.num_bytes for entry in manifest.shards),
        "bad": len(manifest.quarantined),
        "patched": manifest.num_patched,
        "folder": str(built.shard_set.folder),
        "was_complete": built.already_complete,
    }


def _summary(built: "list[BuiltSplit]") -> str:
    lines = [f"{'split':6}{'images':>10}{'classes':>9}{'shards':>8}{'MB':>10}{'bad':>6}{'patched':>9}  folder"]
    for row in map(_summary_row, built):
        note = "  (was complete)" if row["was_complete"] else ""
        lines.append(
            f"{row['split']:6}{row['images']:10}{row['classes']:9}{row['shards']:8}"
            f"{int(row['bytes']) / 1e6:10.1f}{row['bad']:6}{row['patched']:9}  {row['folder']}{note}"
        )
    return "\n".join(lines)


def _colour_table(report: "ColourReport", num_images: int) -> str:
    colour = report.stored
    mean = "  ".join(
        f"{name} {value:7.3f} ({value / 255:.4f})" for name, value in zip("rgb", colour.mean_C, strict=True)
    )
    lines = [
        f"{num_images} images, {colour.num_pixels} pixels; grey levels 0-255, in brackets 0-1",
        f"mean  {mean}",
        "",
        f"{'':2}{'eigenvalue':>12} {'(0-1)':>11}{'std. dev.':>11} {'(0-1)':>9}{'share':>8}   eigenvector r, g, b",
    ]
    total = sum(colour.eigenvalues_K)
    for k, (value, sigma, vector) in enumerate(
        zip(colour.eigenvalues_K, colour.standard_deviations_K, colour.eigenvectors_KC, strict=True)
    ):
        lines.append(
            f"{k + 1:2}{value:12.3f} {f'({value / 255**2:.6f})':>11}{sigma:11.3f} {f'({sigma / 255:.5f})':>9}"
            f"{value / total:8.2%}   {vector[0]:+.4f} {vector[1]:+.4f} {vector[2]:+.4f}"
        )
    mean_difference = max(abs(a - b) for a, b in zip(colour.mean_C, report.fused.mean_C, strict=True))
    sigma_difference = max(
        abs(a - b) for a, b in zip(colour.standard_deviations_K, report.fused.standard_deviations_K, strict=True)
    )
    lines += [
        "",
        "stored pixels against those before encoding: "
        + (
            "equal to the last bit"
            if report.equal
            else f"mean differs by {mean_difference:.4f}, std. dev. by {sigma_difference:.4f}, "
            f"mean image by at most {report.max_mean_image_difference:.3f} grey levels"
        ),
    ]
    return "\n".join(lines)
