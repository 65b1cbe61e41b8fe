"""alexeval neighbors: find the images of a shard set that are nearest to given images."""

import json
from dataclasses import replace
from pathlib import Path

import click

from ..locations import shards_option
from ..terminal import examples, one_line_errors, progress, warn
from .options import (
    PATH,
    NetworkChoice,
    images_argument,
    json_option,
    network_options,
    no_image_read,
    require_picture,
    run_argument,
    split_option,
)


@click.command(
    short_help="Find the images of a shard set nearest to given ones.",
    epilog=examples("alexeval neighbors runs/original photo.jpg"),
)
@run_argument
@images_argument
@shards_option("Shard set to search, or a folder of them.")
@split_option("train", "Split to search.")
@click.option("--count", default=6, show_default=True, type=click.IntRange(1), help="Neighbors to print per image.")
@json_option("Print one JSON object per line.")
@click.option("--picture", type=PATH, help="Draw images and neighbors to this PNG.")
@network_options
@one_line_errors
def neighbors(
    run: Path,
    images: tuple[str, ...],
    shards: Path,
    split: str,
    count: int,
    as_json: bool,
    picture: Path | None,
    choice: NetworkChoice,
) -> None:
    """Find the images of a shard set nearest to each IMAGE, by Euclidean distance in the last hidden layer.

    Use - to read an image from standard input. The set's features are computed once and kept in RUN/features.
    """
    import numpy as np

    from ...model.evaluation.evaluate import open_split
    from ...model.evaluation.example_figures import NUM_DRAWN, draw_neighbors
    from ...model.evaluation.image_files import ImageAnswer, answer_images, find_images
    from ...model.evaluation.retrieval import nearest, stored_features
    from ...pipeline.storage import Samples

    require_picture("--picture", picture)
    found = find_images(images)
    shard_set = open_split(shards, split)
    train = shards / "train"
    network = choice.load(run, train if train.is_dir() else shard_set.folder if split == "train" else None)
    network.require_preparation()
    readable: list[ImageAnswer] = []
    for answer in answer_images(network, found, batch_size=choice.batch_size, with_features=True):
        if answer.error:
            warn(f"{answer.name}: {answer.error}")
        elif picture and len(readable) < NUM_DRAWN:
            readable.append(answer)
        else:
            readable.append(replace(answer, crop_HWC=None))  # of many images, they would fill the memory
    if not readable:
        raise no_image_read(len(found))
    with progress("features", shard_set.manifest.num_samples, "images") as update:
        base_ND = stored_features(network, shard_set, batch_size=choice.batch_size, report=update)
    queries_QD = np.stack([answer.features_D for answer in readable if answer.features_D is not None])
    distances_QK, rows_QK = nearest(base_ND, queries_QD, count, device=str(network.device))
    samples = Samples([shard_set])
    for answer, distances, rows in zip(readable, distances_QK, rows_QK, strict=True):
        keys = samples.keys(rows)
        classes = [shard_set.manifest.classes[label] for label in samples.labels_N[rows].tolist()]
        if as_json:
            listed = [
                {"key": key, "class": entry.name, "id": entry.id, "distance": round(float(distance), 4)}
                for key, entry, distance in zip(keys, classes, distances, strict=True)
            ]
            click.echo(json.dumps({"image": answer.name, "neighbors": listed}))
            continue
        click.echo(answer.name)
        for key, entry, distance in zip(keys, classes, distances, strict=True):
            click.echo(f"  {distance:10.4g}  {entry.name}  {key}")
    if picture:
        draw_neighbors(picture, readable, shard_set, rows_QK)
    if len(readable) < len(found):
        raise SystemExit(1)
