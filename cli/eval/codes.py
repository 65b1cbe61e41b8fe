"""alexeval codes: search by short binary codes and Hamming distance, compared with exact search."""

import json
from pathlib import Path

import click

from ..locations import shards_option
from ..terminal import examples, one_line_errors, progress
from .options import NetworkChoice, json_option, network_options, run_argument, split_option


@click.command(
    short_help="Search by short binary codes and Hamming distance.",
    epilog=examples("alexeval codes runs/original --bits 128"),
)
@run_argument
@shards_option()
@split_option("val", "Split to take the query images from.")
@click.option("--bits", default=256, show_default=True, help="Code length in bits, a multiple of 8.")
@click.option(
    "--epochs", default=20, show_default=True, type=click.IntRange(1), help="Epochs to train the auto-encoder."
)
@click.option(
    "--neighbors", "k", default=10, show_default=True, type=click.IntRange(1), help="Exact nearest neighbors per query."
)
@click.option("--queries", default=1000, show_default=True, type=click.IntRange(1), help="Number of query images.")
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

    Prints the fraction of exact nearest neighbors found among the nearest codes, and the speed of both searches, with
    random projections of the same length as a control. Codes and auto-encoder are kept in RUN/features if RUN is a
    folder.
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
