"""alexeval export: write a network for use without alexkit."""

from pathlib import Path

import click

from ...extras import require
from ..terminal import examples, one_line_errors
from .options import (
    PATH,
    NetworkChoice,
    require_file,
    require_folder,
    run_argument,
    training_shards_option,
    weights_options,
)


@click.command(
    short_help="Export the network to ONNX, PyTorch, timm or a web page.",
    epilog=examples("alexeval export runs/original --onnx alexnet.onnx"),
)
@run_argument
@click.option("--onnx", "onnx_file", type=PATH, help="Write an ONNX file, for onnxruntime and browsers.")
@click.option("--torch-export", "torch_file", type=PATH, help="Write a torch.export program (.pt2).")
@click.option("--timm", type=PATH, help="Write a folder that timm.create_model loads.")
@click.option("--web", type=PATH, help="Write a folder with a page that runs the network in a browser.")
@training_shards_option
@weights_options
@one_line_errors
def export(
    run: Path,
    onnx_file: Path | None,
    torch_file: Path | None,
    timm: Path | None,
    web: Path | None,
    shards: Path | None,
    choice: NetworkChoice,
) -> None:
    """Export RUN's network for use without alexkit, and compare the exported network with the original.

    --onnx and --torch-export write networks that take pixels from 0 to 255 (they subtract the mean themselves) and
    return logits and probabilities; a JSON file beside each describes the preprocessing and lists the classes. The timm
    model takes images prepared by timm's transforms; --timm needs timm ('pip install timm'). --web is written without a
    comparison.
    """
    from ...model.evaluation.export import (
        check_export,
        require_ours,
        run_onnx,
        run_timm,
        run_torch_program,
        write_network_onnx,
        write_preprocessing,
        write_timm_folder,
        write_torch_program,
        write_web_page,
    )

    if not (onnx_file or torch_file or timm or web):
        raise click.UsageError("name at least one of --onnx FILE, --torch-export FILE, --timm FOLDER and --web FOLDER")
    require_file("--onnx", onnx_file)
    require_file("--torch-export", torch_file)
    require_folder("--timm", timm)
    require_folder("--web", web)
    for file in (onnx_file, torch_file):
        if file:
            require_ours(file.with_suffix(".json"), "weights_sha256")
    if timm:
        require_ours(timm / "config.json", "model_args")  # a run folder has a config.json too
    if onnx_file or web:
        require("onnx")
    if onnx_file:
        require("onnxruntime")
    if timm:
        require("timm")
    network = choice.load(run, shards)
    for path, write, compute in (
        (onnx_file, write_network_onnx, run_onnx),
        (torch_file, write_torch_program, run_torch_program),
    ):
        if path is None:
            continue
        write(path, network)
        write_preprocessing(path.with_suffix(".json"), network)
        found = check_export(path, network, compute)
        click.echo(
            f"{path}: probabilities of {found.images} images differ from the network's by at most {found.largest:.1e}; "
            f"{path.with_suffix('.json').name} describes its input"
        )
    if timm:
        write_timm_folder(timm, network)
        found = check_export(timm, network, run_timm)
        click.echo(
            f"{timm}: probabilities of {found.images} images by timm differ from the network's by at most "
            f"{found.largest:.1e}; import alexkit_timm.py, then timm.create_model('local-dir:{timm}', pretrained=True)"
        )
    if web:
        write_web_page(web, network)
        click.echo(f"{web / 'index.html'}: serve the folder (python -m http.server) and open it in a browser")
