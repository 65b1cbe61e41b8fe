"""alexprep pca: compute mean and principal colors from the stored pixels."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...cores import num_cores
from ...extras import require
from ..terminal import as_typed, examples, note, note_written, one_line_errors, progress, warn
from .arguments import ENGINE, OUT, SHARDS, WORKERS, place_of, train_set

if TYPE_CHECKING:
    from ...prep.reports.pca import ColorReport
    from ...prep.workers import Engine


@click.command(epilog=examples("alexprep pca", "alexprep pca shards/val --json"))
@SHARDS
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of the table.")
@OUT
@WORKERS
@ENGINE
@one_line_errors
def pca(shards: Path, as_json: bool, out: Path | None, workers: int | None, engine: "Engine") -> None:
    """Compute mean and principal colors from stored pixels.

    SHARDS is a shard set, or a folder of shard sets, whose train set is used; the default is $ALEXKIT_SHARDS, else
    ./shards. Prints a table, compares it with the statistics written with the shards, and writes pca.json, pca.png and
    mean.png beside the shards or to --out.
    """
    note(f"summing the pixels of {as_typed(str(shards))}")
    if engine == "local":
        from ...prep.workers import start_ahead

        reports, images = "alexkit.prep.reports.pca", "alexkit.prep.images"
        start_ahead(reports, f"{images}.geometry", f"{images}.running_sums", f"{images}.stored")
    import json

    from ...prep.format.files import whole_file
    from ...prep.reports.pca import report_colors, sample_pixels, stored_sums
    from ...prep.reports.pca_plot import save_mean_image, save_pca_plot

    shard_set = train_set(shards)
    place = place_of(shard_set.folder, out, "pca.json, pca.png and mean.png")
    manifest = shard_set.manifest
    with progress("summing", manifest.num_samples, "images") as update:
        num_workers = num_cores() if workers is None else workers
        sums = stored_sums(shard_set, num_workers=num_workers, engine=engine, on_progress=update)
    report = report_colors(shard_set, sums)
    click.echo(json.dumps(report.to_json()) if as_json else _color_table(report, manifest.num_samples))
    if place is None:
        return
    with whole_file(place / "pca.json") as file:
        file.write(json.dumps(report.to_json(), indent=1, sort_keys=True).encode() + b"\n")
    save_mean_image(place / "mean.png", sums.mean_image_HWC())
    for name in ("pca.json", "mean.png"):
        note_written(place / name)
    try:
        require("matplotlib")
    except ImportError as error:
        warn(f"no pca.png: {error}")
        return
    save_pca_plot(
        place / "pca.png",
        title=f"{manifest.num_samples} images, {manifest.split} split",
        color=report.stored,
        mean_image_HWC=sums.mean_image_HWC(),
        pixels_PC=sample_pixels(shard_set),
    )
    note_written(place / "pca.png")


def _color_table(report: "ColorReport", num_images: int) -> str:
    color = report.stored
    mean = "  ".join(
        f"{name} {value:7.3f} ({value / 255:.4f})" for name, value in zip("rgb", color.mean_C, strict=True)
    )
    lines = [
        f"{num_images} images, {color.num_pixels} pixels; gray levels 0-255, in parentheses 0-1",
        f"mean  {mean}",
        "",
        f"{'':2}{'eigenvalue':>12} {'(0-1)':>11}{'std. dev.':>11} {'(0-1)':>9}{'share':>8}   eigenvector r, g, b",
    ]
    for k, (sigma, share, vector) in enumerate(
        zip(color.standard_deviations_K, color.shares_K, color.eigenvectors_KC, strict=True)
    ):
        value = max(color.eigenvalues_K[k], 0.0)
        lines.append(
            f"{k + 1:2}{value:12.3f} {f'({value / 255**2:.6f})':>11}{sigma:11.3f} {f'({sigma / 255:.5f})':>9}"
            f"{share:8.2%}   {vector[0]:+.4f} {vector[1]:+.4f} {vector[2]:+.4f}"
        )
    mean_difference = max(abs(a - b) for a, b in zip(color.mean_C, report.fused.mean_C, strict=True))
    sigma_difference = max(
        abs(a - b) for a, b in zip(color.standard_deviations_K, report.fused.standard_deviations_K, strict=True)
    )
    lines += [
        "",
        "stored pixels compared with the pixels before encoding: "
        + (
            "equal to the last bit"
            if report.equal
            else f"mean differs by {mean_difference:.4f}, std. dev. by {sigma_difference:.4f}, "
            f"mean image by at most {report.max_mean_image_difference:.3f} gray levels"
        ),
    ]
    return "\n".join(lines)
