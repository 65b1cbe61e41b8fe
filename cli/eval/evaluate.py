"""alexeval RUN…: error rates of networks and of their ensemble, with tables and a report page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import InputError
from ..locations import cache_options, shards_option
from ..terminal import examples, note, one_line_errors, progress, warn
from .options import (
    PATH,
    NetworkChoice,
    json_option,
    network_options,
    require_file,
    require_folder,
    require_picture,
    split_option,
)

if TYPE_CHECKING:
    from ...model import EvaluationResult


@click.command(
    short_help="Measure top-1 and top-5 error of each RUN and of all together.",
    epilog=examples("alexeval runs/original", "alexeval runs/one runs/two --report report"),
)
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@shards_option("Folder or URL with train/ and val/, written by 'alexprep shard', or one of its sets.")
@cache_options
@split_option("val", "Split to evaluate.")
@click.option(
    "--views",
    type=click.Choice(["center", "nine", "ten"]),
    multiple=True,
    help="Kind of views to evaluate; may be repeated.  [default: center, and ten or nine if they fit]",
)
@click.option(
    "--search-weights",
    is_flag=True,
    help="Fit ensemble weights on these images; each half is scored with the weights of the other.",
)
@click.option("--labels", type=PATH, help="Score against these labels: CSV (key,labels) or JSON such as ReaL's.")
@click.option("--report", type=PATH, help="Write a page, metrics.json and tables to this folder.")
@click.option(
    "--neighbors", is_flag=True, help="In the report: show nearest training images and near-duplicates, by fc7."
)
@click.option("--codes", is_flag=True, help="In the report, with --neighbors: compare short codes with exact search.")
@click.option(
    "--examples",
    multiple=True,
    metavar="KEY",
    help="In the report: key of an image to show, instead of a selection; may be repeated.",
)
@click.option(
    "--predictions", type=PATH, help="Write predictions to .csv or .parquet, or to .txt in ILSVRC's submission format."
)
@click.option("--devkit", type=PATH, help="For --predictions FILE.txt: ILSVRC's devkit, for the class numbers.")
@click.option("--results", type=PATH, help="Append a row per RUN to a CSV with timm's columns.")
@json_option("Print all numbers as JSON, as in metrics.json.")
@click.option("--picture", type=PATH, help="Draw example predictions to this PNG.")
@network_options
@one_line_errors
def evaluate(
    runs: tuple[Path, ...],
    shards: Path,
    split: str,
    views: tuple[str, ...],
    search_weights: bool,
    labels: Path | None,
    report: Path | None,
    neighbors: bool,
    codes: bool,
    examples: tuple[str, ...],
    predictions: Path | None,
    devkit: Path | None,
    results: Path | None,
    as_json: bool,
    picture: Path | None,
    choice: NetworkChoice,
) -> None:
    """Measure top-1 and top-5 error of each RUN on a shard set, and of several RUNs together.

    RUN is a run folder or a weights file (.safetensors, .caffemodel), with --recipe if the file does not name its
    network.
    """
    from ...model import Evaluation
    from ...model.evaluation.example_figures import draw_predictions
    from ...model.evaluation.report.tables import (
        append_timm_rows,
        check_predictions_file,
        read_timm_rows,
        submission_numbers,
        write_predictions,
    )
    from ...prep import ShardSet

    for option, path in (("--predictions", predictions), ("--results", results)):
        require_file(option, path)
    require_picture("--picture", picture)
    require_folder("--report", report)
    if predictions:
        check_predictions_file(predictions)
    if results:
        read_timm_rows(results)
    submits = predictions is not None and predictions.suffix == ".txt"
    if devkit and not submits:
        raise click.UsageError("--devkit is for --predictions FILE.txt; add it")
    if (neighbors or examples) and not report:
        raise click.UsageError("--neighbors and --examples need --report DIR; add it")
    if codes and not neighbors:
        raise click.UsageError("--codes needs the exact search of --neighbors; add it")
    if search_weights and len(runs) < 2:
        raise click.UsageError("--search-weights needs several networks; name at least two RUNs")
    if not shards.is_dir():
        raise InputError(f"--shards {shards}: no such folder; name one that 'alexprep shard' wrote")
    if report:
        from ...model.evaluation.report import require_libraries

        require_libraries()
    train = shards / "train" if (shards / "train").is_dir() else None
    if neighbors and train is None:
        raise InputError(
            f"--neighbors searches {shards / 'train'}, which does not exist; pass a folder with train/ as --shards"
        )
    networks = [choice.load(run, train) for run in runs]
    evaluation = Evaluation(
        networks,
        shards,
        split=split,
        views=views or None,  # type: ignore[arg-type]
        batch_size=choice.batch_size,
        weights="search" if search_weights else "mean",
        labels=labels,
        keep_features=neighbors,
    )
    if not (predictions or report) and not evaluation.has_labels:
        raise InputError(
            f"{shards}: {split} has no labels to compute errors from; use --predictions FILE or --report DIR"
        )
    if results and not evaluation.has_labels:
        raise InputError(f"--results {results}: {shards} has no labels, so there is nothing to append")
    if examples:
        from ...model.evaluation.report.page import rows_of

        rows_of(examples, evaluation.keys)
    numbers_C = submission_numbers(evaluation.classes, devkit) if submits else None
    with progress("evaluate", evaluation.num_images, "images") as update:
        result = evaluation.run(update)
    if evaluation.layout.rank > 0:
        return
    say = note if as_json else click.echo  # stdout holds only the numbers
    if as_json:
        click.echo(json.dumps(result.metrics()))
    elif result.num_labeled:
        click.echo("\n".join(table(result)))
    for words in result.notes:
        warn(words)
    if predictions:
        write_predictions(predictions, result, numbers_C)
        say(f"predictions: {predictions}")
    if results:
        append_timm_rows(results, result, networks)
        say(f"timm's columns: {results}")
    if report:
        from ...model.evaluation.report import compare_with_codes, find_neighbors, num_codes_seen, write_report

        found, compared = None, None
        if neighbors:
            training = ShardSet.open(shards / "train")
            with progress("training features", training.manifest.num_samples, "images") as update:
                found = find_neighbors(
                    networks[0], result, training.folder, batch_size=choice.batch_size, report=update
                )
        if codes and found is not None:
            with progress("codes", num_codes_seen(found), "images") as update:
                compared = compare_with_codes(networks[0], result, found, report=update)
        write_report(report, result, networks, evaluation.shard_set, neighbors=found, codes=compared, examples=examples)
        say(f"report: {report / 'index.html'}")
    if picture:
        draw_predictions(picture, result, evaluation.shard_set)
        say(f"example predictions: {picture}")


def table(result: "EvaluationResult") -> list[str]:
    """The scores as lines: a row for each network and for all together, two columns for each kind of views."""
    from ...model.evaluation.views import TITLES, VIEW_KINDS

    kinds = [kind for kind in VIEW_KINDS if any(kind in scores for scores in result.scores)]
    width = max(len(row.name) for row in result.rows)
    cell = 15 if result.has_top5 else 11
    heads = "".join(f"{TITLES[kind]:>{cell}}" for kind in kinds)
    labels = f", labels of {result.labels}" if result.labels else ""
    lines = [f"{result.num_labeled} images of {result.shards}{labels}, errors in %", f"{'':{width}}{heads}"]
    columns = f"{'top-1':>8}{'top-5':>7}" if result.has_top5 else f"{'top-1':>{cell}}"
    lines.append(f"{'':{width}}{columns * len(kinds)}")
    for row, scores in zip(result.rows, result.scores, strict=True):
        cells = ""
        for kind in kinds:
            one = scores.get(kind)
            top1 = f"{100 * one.top1_error:.2f}" if one else "–"
            top5 = f"{100 * one.top5_error:.2f}" if one else "–"
            cells += f"{top1:>8}{top5:>7}" if result.has_top5 else f"{top1:>{cell}}"
        weights = "".join(f" {weight:.3f}" for weight in row.weights or ())
        lines.append(f"{row.name:{width}}{cells}{'  weights' + weights if weights else ''}")
    return lines
