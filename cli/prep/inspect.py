"""alexprep inspect: one page that shows the contents of shard sets."""

from pathlib import Path

import click

from ...cores import num_cores
from ...extras import require
from ..terminal import as_typed, examples, note, note_written, one_line_errors, progress
from .arguments import OUT, SHARDS, WORKERS, place_of, sets_of


@click.command(
    epilog=examples("alexprep inspect", "alexprep inspect shards/val --png", "alexprep inspect --quick --json")
)
@SHARDS
@click.option(
    "--png", is_flag=True, help="Also draw a contact sheet of each set: its samples.png, or SPLIT-samples.png in --out."
)
@click.option("--quick", is_flag=True, help="Skip the search for re-encoded duplicates, which decodes every image.")
@click.option("--json", "as_json", is_flag=True, help="Print counts, shuffle quality and duplicates as JSON.")
@OUT
@WORKERS
@one_line_errors
def inspect(shards: Path, png: bool, quick: bool, as_json: bool, out: Path | None, workers: int | None) -> None:
    """Write inspect.html, one page that shows what SHARDS contain.

    SHARDS is a shard set or a folder of shard sets; the default is $ALEXKIT_SHARDS, else ./shards.

    The page is written to SHARDS, or to --out. It shows samples of every class, counts, sizes, colors, how well the
    set is shuffled, duplicates within and across splits, and the inputs that were left out.
    """
    note(f"inspecting {as_typed(str(shards))}")
    import json

    from ...prep.format.files import whole_file
    from ...prep.reports.contact_sheet import contact_sheet
    from ...prep.reports.duplicates import perceptual_hashes, same_bytes, same_pictures
    from ...prep.reports.inspect import inspection_page
    from ...prep.reports.survey import survey_set

    require("matplotlib")  # now, not after a pass over all images
    place = place_of(shards, out, "inspect.html and samples.png" if png else "inspect.html")
    surveys = [survey_set(folder) for folder in sets_of(shards)]
    sets = [survey.shard_set for survey in surveys]
    equal, alike = same_bytes(sets), None
    if not quick:
        hashes = []
        for survey in surveys:
            with progress(f"comparing {survey.split}", len(survey.index), "images") as update:
                found = perceptual_hashes(
                    survey.shard_set, num_workers=num_cores() if workers is None else workers, on_progress=update
                )
            hashes.append(found)
        alike = same_pictures(hashes)
    rows = [
        {
            "split": survey.split,
            "images": len(survey.index),
            "classes": len(survey.counts_K),
            "fewest_per_class": int(survey.counts_K.min()),
            "most_per_class": int(survey.counts_K.max()),
            "distinct_classes_in_a_batch": survey.distinct_mean,
            "distinct_classes_expected": survey.distinct_ideal,
        }
        for survey in surveys
    ]
    duplicates = {"same_bytes": len(equal), "same_picture": None if alike is None else len(alike)}
    if as_json:
        click.echo(json.dumps({"sets": rows, "duplicates": duplicates}))
    else:
        for row in rows:
            click.echo(
                f"{row['split']}: {row['images']} images in {row['classes']} classes of {row['fewest_per_class']} to "
                f"{row['most_per_class']}; distinct classes in a batch: {row['distinct_classes_in_a_batch']:.1f}, "
                f"{row['distinct_classes_expected']:.1f} expected for a perfect shuffle"
            )
        pictures = "" if alike is None else f", {len(alike)} with the same picture"
        click.echo(f"groups of duplicates: {len(equal)} with the same bytes{pictures}")
    if place is None:
        return
    page = place / "inspect.html"
    with whole_file(page) as file:
        file.write(inspection_page(surveys, equal, alike).encode())
    note_written(page)
    if png:
        for survey in surveys:
            folder = survey.shard_set.folder
            path = folder / "samples.png" if out is None else out / f"{survey.split}-samples.png"
            with whole_file(path) as file:
                contact_sheet(survey).save(file, "PNG")
            note_written(path)
