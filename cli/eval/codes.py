"""alexeval codes: short binary codes of images, searched by Hamming distance, against the exact answer."""

import json
from pathlib import Path

import click

from ..terminal import examples, one_line_errors, progress
from .options import (
    NetworkChoice,
    json_option,
    network_options,
    run_argument,
    shards_option,
    split_option,
)


@click.command(
    short_help="Short binary codes, searched by Hamming distance.",
    epilog=examples("alexeval codes runs/original --bits 128"),
)
@run_argument
@shards_option("Folder with train/ and val/ that 'alexprep shard' wrote.")
@split_option("val", "The split whose images are searched for.")
@click.option("--bits", default=256, show_default=True, help="Length of a code, a multiple of 8.")
@click.option("--epochs", default=20, show_default=True, type=click.IntRange(1), help="Passes over the features.")
@click.option(
    "--neighbors", "k", default=10, show_default=True, type=click.IntRange(1), help="Exact neighbors to find."
)
@click.option("--queries", default=1000, show_default=True, type=click.IntRange(1), help="Images to search for.")
@json_option("Print the numbers as JSON.")
@network_options
@one_line_errors
def codes(
    run: Path,
    shards: Path,
    split: str,
    bits: int,
    epochs: int,
    k: int,
    queries: int,
    as_json: bool,
    choice: NetworkChoice,
) -> None:
    """Train an auto-encoder on the last hidden layer (paper, section 6.1) and search by its codes.

    Prints which part of the exact nearest neighbors is found among the nearest codes, and how long both searches take;
    random projections of the same length are the control. A run folder keeps codes and auto-encoder in RUN/features.
    """
    from ...model.evaluation.evaluate import open_split
    from ...model.evaluation.retrieval import CodeOptions, compare_codes, stored_features, trained_codes

    options = CodeOptions(bits=bits, epochs=epochs)
    train, searched = open_split(shards, "train"), open_split(shards, split)
    network = choice.load(run, train.folder)
    found = []
    for name, shard_set in (("training features", train), (f"{split} features", searched)):
        with progress(name, shard_set.manifest.num_samples, "images") as update:
            found.append(stored_features(network, shard_set, batch_size=choice.batch_size, report=update))
    with progress("codes", epochs * len(found[0]), "images") as update:
        model, codes_NB = trained_codes(network, train, found[0], options, update)
    result = compare_codes(found[0], found[1][:queries], model, codes_NB, neighbors=k, device=str(network.device))
    if as_json:
        click.echo(json.dumps(result.numbers(), indent=1))
        return
    click.echo(
        f"{result.queries} images of {split} among {result.base} of train, {result.neighbors} exact neighbors each"
    )
    click.echo(f"exact, {result.units} units: {result.exact_queries_per_s:.0f} queries/s")
    for row in result.rows:
        parts = ", ".join(f"{value:.1%} in {size}" for size, value in row.recall.items())
        click.echo(f"{row.codes}, {row.bits} bits: {row.queries_per_s:.0f} queries/s; found {parts}")
