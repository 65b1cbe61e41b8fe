"""alexeval filters: draw the first layer's kernels, and measure the color in each column."""

import json
from pathlib import Path

import click

from ..terminal import examples, one_line_errors
from .options import PATH, NetworkChoice, json_option, require_file, run_argument, weights_options


@click.command(
    short_help="Draw the kernels of the first layer.",
    epilog=examples("alexeval filters runs/original --json"),
)
@run_argument
@click.option("--out", type=PATH, help="PNG to write.  [default: filters.png in RUN, or beside RUN if it is a file]")
@json_option("Print the color fractions as JSON.")
@weights_options
@one_line_errors
def filters(run: Path, out: Path | None, as_json: bool, choice: NetworkChoice) -> None:
    """Draw the first layer's kernels by column, and print how much of each column's energy is color.

    RUN is a run folder or a weights file (.safetensors, .caffemodel), with --recipe if the file does not name its
    network.
    """
    from ...model.evaluation.figures import color_fractions, draw_filters

    network = choice.load(run)
    first = network.network.sizes[0].name
    kernels_KCHW = network.network.get_parameter(f"{first}.weight").detach().numpy()
    columns = network.network.wiring.columns
    path = out or (run if run.is_dir() else run.parent) / "filters.png"
    require_file("--out", path)
    draw_filters(path, kernels_KCHW, columns)
    fractions = color_fractions(kernels_KCHW, columns)
    if as_json:
        click.echo(json.dumps({"color_by_column": list(map(float, fractions)), "picture": str(path)}))
        return
    for number, fraction in enumerate(fractions, 1):
        name = f"column {number}" if columns > 1 else "kernels"
        click.echo(f"{name}: {fraction:.1%} of the energy is color, the rest is gray")
    click.echo(str(path))
