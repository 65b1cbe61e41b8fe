"""alexeval predict: predict the classes of image files."""

import json
from pathlib import Path

import click

from ..terminal import examples, one_line_errors, warn
from .options import (
    PATH,
    NetworkChoice,
    images_argument,
    json_option,
    network_options,
    no_image_read,
    require_picture,
    run_argument,
    training_shards_option,
)


@click.command(
    short_help="Predict the most likely classes of images.",
    epilog=examples("alexeval predict runs/original photo.jpg --top 3"),
)
@run_argument
@images_argument
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="Classes to print per image.")
@json_option("Print one JSON object per line.")
@click.option("--picture", type=PATH, help="Draw the first images with their classes to this PNG.")
@training_shards_option
@network_options
@one_line_errors
def predict(
    run: Path,
    images: tuple[str, ...],
    top: int,
    as_json: bool,
    picture: Path | None,
    shards: Path | None,
    choice: NetworkChoice,
) -> None:
    """Predict the most likely classes of images, prepared exactly like RUN's training shards, from their center crop.

    Use - to read an image from standard input. An image that cannot be read is reported on stderr, and the others are
    still predicted; the exit code is then 1.
    """
    import numpy as np

    from ...model.evaluation.example_figures import NUM_DRAWN, draw_answers
    from ...model.evaluation.image_files import ImageAnswer, answer_images, find_images

    require_picture("--picture", picture)
    found = find_images(images)
    network = choice.load(run, shards)
    network.require_preparation()
    names, width = network.class_names, max(map(len, found))
    ids = [entry.id for entry in network.classes] if network.classes else names
    failed = 0
    drawn: list[ImageAnswer] = []
    for answer in answer_images(network, found, batch_size=choice.batch_size):
        if answer.probabilities_C is None:
            failed += 1
            warn(f"{answer.name}: {answer.error}")
            continue
        best = np.argsort(-answer.probabilities_C, kind="stable")[:top]
        pairs = [(names[k], float(answer.probabilities_C[k])) for k in best]
        if as_json:
            guesses = [
                {"class": name, "id": ids[k], "probability": round(value, 6)}
                for k, (name, value) in zip(best, pairs, strict=True)
            ]
            click.echo(json.dumps({"image": answer.name, "guesses": guesses}))
        else:
            click.echo(f"{answer.name:{width}}  " + "  ".join(f"{name} {100 * value:.1f}%" for name, value in pairs))
        if picture and len(drawn) < NUM_DRAWN:
            drawn.append(answer)
    if picture and drawn:
        draw_answers(picture, network, drawn)
    if failed == len(found):
        raise no_image_read(len(found))
    if failed:
        raise SystemExit(1)
