"""alexeval: error rates of one run or of several together, or one run's network for other programs."""

import json
from pathlib import Path

import click

from ...errors import InputError
from ..locations import SHARDS_TO_TRAIN, cache_options
from ..terminal import one_line_errors, progress


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--shards",
    type=SHARDS_TO_TRAIN,
    required=True,
    help="Folder or address with train/ and val/ that 'alexprep shard' wrote.",
)
@cache_options
@click.option("--split", default="val", show_default=True, help="The split to evaluate on.")
@click.option("--batch-size", default=64, show_default=True, help="Images, or views of images, at once.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the table to this file.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw example predictions to this PNG.")
@click.option(
    "--onnx",
    "onnx_file",
    type=click.Path(path_type=Path),
    help="Write the one RUN's network, mean included, to this ONNX file; evaluate nothing.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@one_line_errors
def evaluate(
    runs: tuple[Path, ...],
    shards: Path,
    split: str,
    batch_size: int,
    json_file: Path | None,
    picture: Path | None,
    onnx_file: Path | None,
    device: str,
) -> None:
    """Top-1 and top-5 error of each RUN, by the center crop and by ten views, and of several RUNs together."""
    from ...model import Evaluation
    from ...prep.format.files import whole_file

    for option, path in (("--json", json_file), ("--picture", picture), ("--onnx", onnx_file)):
        if path and not path.parent.is_dir():
            raise InputError(f"{option} {path}: no such folder; make {path.parent} first")
    evaluation = Evaluation(runs, shards, split=split, batch_size=batch_size, device=device)
    if onnx_file:
        if json_file or picture:
            raise InputError("--onnx evaluates nothing; leave out --json and --picture")
        evaluation.write_onnx(onnx_file)
        click.echo(
            f"{onnx_file}: takes pixels of 0-255, gives logits and probabilities; its metadata names the classes"
        )
        return
    with progress("evaluate", evaluation.num_passes, "images") as update:
        rows = evaluation.run(update)
    names = [str(row["name"]) for row in rows]
    width = max(map(len, names))
    click.echo(f"{rows[0]['images']} images of {shards / split}, errors in %")
    click.echo(f"{'':{width}}   center crop      ten views")
    click.echo(f"{'':{width}}   top-1  top-5    top-1  top-5")
    for row in rows:
        click.echo(f"{row['name']:{width}}  {_pair(row['center'])}    {_pair(row['ten_views'])}")
    if json_file:
        with whole_file(json_file) as file:
            file.write(json.dumps({"shards": str(shards), "split": split, "rows": rows}, indent=1).encode() + b"\n")
    if picture:
        evaluation.draw_examples(picture)
        click.echo(f"example predictions: {picture}")


def _pair(errors: dict[str, float]) -> str:
    return f"{100 * errors['top1_error']:6.2f} {100 * errors['top5_error']:6.2f}"
