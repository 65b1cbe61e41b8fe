"""alexeval codes: short binary codes of images, searched by Hamming distance, against the exact answer."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from ...errors import InputError
from ..terminal import examples, one_line_errors, progress
from .options import (
    PATH,
    batch_size_option,
    device_option,
    load,
    network_options,
    require_folder,
    run_argument,
    shards_option,
)


@click.command(
    short_help="Short binary codes, searched by Hamming distance.",
    epilog=examples("alexeval codes runs/original --bits 128"),
)
@run_argument
@shards_option("Folder with train/ and val/ that 'alexprep shard' wrote.")
@click.option("--split", default="val", show_default=True, help="The split whose images are searched for.")
@click.option("--bits", default=256, show_default=True, help="Length of a code, a multiple of 8.")
@click.option("--epochs", default=20, show_default=True, type=click.IntRange(1), help="Passes over the features.")
@click.option(
    "--neighbors", "k", default=10, show_default=True, type=click.IntRange(1), help="Exact neighbors to find."
)
@click.option("--queries", default=1000, show_default=True, type=click.IntRange(1), help="Images to search for.")
@click.option("--json", "json_file", type=PATH, help="Also write the numbers to this file.")
@network_options
@batch_size_option
@device_option
@one_line_errors
def codes(
    run: Path,
    shards: Path,
    split: str,
    bits: int,
    epochs: int,
    k: int,
    queries: int,
    json_file: Path | None,
    checkpoint: str | int,
    recipe: str | None,
    batch_size: int,
    device: str,
) -> None:
    """Train an auto-encoder on the last hidden layer (paper, section 6.1) and search by its codes.

    Prints which part of the exact nearest neighbors is found among the nearest codes, and how long both searches take;
    random projections of the same length are the control. Codes and auto-encoder are kept in RUN/features.
    """
    from ...model.evaluation.evaluate import open_split
    from ...model.evaluation.retrieval import (
        FOLDER,
        CodeOptions,
        hamming_nearest,
        nearest,
        random_codes,
        recall,
        stored_features,
        train_codes,
    )
    from ...prep.format.files import whole_file

    require_folder("--json", json_file)
    options = CodeOptions(bits=bits, epochs=epochs)
    if not run.is_dir():
        raise InputError(f"{run}: codes are kept in a run folder; name one that 'alextrain' wrote")
    train, val = open_split(shards, "train"), open_split(shards, split)
    network = load(run, checkpoint, recipe, device, train.folder)
    found = []
    for name, shard_set in (("training features", train), (f"{split} features", val)):
        with progress(name, shard_set.manifest.num_samples, "images") as update:
            found.append(stored_features(network, shard_set, batch_size=batch_size, report=update))
    base_ND, queries_QD = found[0], np.asarray(found[1][:queries])
    with progress("codes", epochs * len(base_ND), "images") as update:
        model = train_codes(base_ND, options, update)
    (_, exact_QK), exact_s = _timed(partial(nearest, base_ND, queries_QD, k))
    rows: list[dict[str, Any]] = []
    for name, encode in (
        ("auto-encoder", model.encode),
        ("random projections", lambda x: random_codes(x, model, bits)),
    ):
        base, wanted = encode(base_ND), encode(queries_QD)
        shortlists = sorted({min(size, len(base)) for size in (k, 10 * k, 100 * k)})
        (_, close_QM), seconds = _timed(partial(hamming_nearest, base, wanted, shortlists[-1]))
        recalls = {size: recall(close_QM[:, :size], exact_QK) for size in shortlists}
        rows.append({"codes": name, "bits": bits, "recall": recalls, "queries_per_s": len(queries_QD) / seconds})
        if name == "auto-encoder":
            np.save(run / FOLDER / f"codes-{bits}-train.npy", base)
            _save(run / FOLDER / f"codes-{bits}.safetensors", model)
    click.echo(f"{len(queries_QD)} images of {split} among {len(base_ND)} of train, {k} exact neighbors each")
    click.echo(f"exact, {base_ND.shape[1]} units: {len(queries_QD) / exact_s:.0f} queries/s")
    for row in rows:
        parts = ", ".join(f"{value:.1%} in {size}" for size, value in row["recall"].items())
        click.echo(f"{row['codes']}, {bits} bits: {row['queries_per_s']:.0f} queries/s; found {parts}")
    if json_file:
        numbers = {
            "neighbors": k,
            "queries": len(queries_QD),
            "base": len(base_ND),
            "exact_queries_per_s": len(queries_QD) / exact_s,
            "rows": rows,
        }
        with whole_file(json_file) as file:
            file.write(json.dumps(numbers, indent=1).encode() + b"\n")


def _timed(call: Any) -> tuple[Any, float]:
    start = time.monotonic()
    result = call()
    return result, max(time.monotonic() - start, 1e-9)


def _save(path: Path, model: Any) -> None:
    from safetensors.torch import save_file

    save_file(model.state_dict(), path)
