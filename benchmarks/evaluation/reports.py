"""What a report adds to an evaluation, and what loose files cost compared with a shard set.

    python benchmarks/evaluation/reports.py PHOTOS [--images 50000] [--size 32] [--network cifar10-19] [--files 1000]

PHOTOS are class folders; --images of their photographs become a shard set. Weights are random, since the measurements
do not depend on them. Measured by turns: an evaluation with the center crop, without and with a report; the network on
a set read by the loader, and on --files photographs read as by `alexeval predict`. CPU seconds are those of all threads
and hardly depend on what else the machine does.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from alexkit.model import Network, Switches, TrainedNetwork, evaluate, load_network, wiring
from alexkit.model.evaluation.image_files import answer_images
from alexkit.model.evaluation.report import write_report
from alexkit.pipeline import CenterCrop, Loader
from alexkit.prep import ShardSet


def make_set(photos: list[Path], folder: Path, num_images: int, size_px: int) -> Path:
    """A validation set of this many photographs, repeated as often as needed."""
    for i in range(num_images):
        photo = photos[i % len(photos)]
        target = folder / "images" / "val" / photo.parent.name / f"{i}-{photo.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(photo.resolve())
    words = ["shard", folder / "images", "--out", folder / "shards", "--size", size_px, "--workers", 2]
    command = [sys.executable, "-m", "alexkit.cli.alexprep", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "shards" / "val"


def make_network(kind: str, folder: Path, shards: Path) -> TrainedNetwork:
    """A network with random weights whose predictions differ between images."""
    table = wiring(Switches(kind=kind))  # type: ignore[arg-type]
    network = Network(table, len(ShardSet.open(shards).manifest.classes), seed=0)
    save_file({name: 3 * x.detach().contiguous() for name, x in network.state_dict().items()}, folder / "w.safetensors")
    recipe = f'[network]\nkind = "{kind}"\n[data]\ncrop = {table.input_px}\n[training]\nprecision = "fp32"\n'
    (folder / "recipe.toml").write_text(recipe)
    return load_network(folder / "w.safetensors", recipe=str(folder / "recipe.toml"), shards=shards)


def from_loader(network: TrainedNetwork, shards: Path) -> None:
    """Run the network on prepared images."""
    augment = CenterCrop(crop=network.recipe.data.crop, mean=network.mean, mean_from=network.statistics)
    with Loader(shards, batch_size=64, augment=augment, channels_last=True) as loader:
        for batch in loader:
            network.probabilities(batch.images)


def from_files(network: TrainedNetwork, files: list[str]) -> None:
    """Run the network on photographs, which are decoded and prepared first."""
    for _ in answer_images(network, files):
        pass


def timed(call: Callable[..., Any], *arguments: object) -> tuple[float, float]:
    """Wall-clock and CPU seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    call(*arguments)
    return time.perf_counter() - start, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--network", default="cifar10-19")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    photos = sorted(path for path in options.photos.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = make_set(photos, folder, options.images, options.size)
        small = make_set(photos[: options.files], folder / "small", options.files, options.size)
        network, shard_set = make_network(options.network, folder, shards), ShardSet.open(shards)
        files = [str(photos[i % len(photos)]) for i in range(options.files)]

        def plain() -> None:
            evaluate(network, shards, views=["center"]).metrics()

        def reported() -> None:
            result = evaluate(network, shards, views=["center"])
            write_report(folder / "report", result, [network], shard_set)

        from_files(network, files[:64])  # compiles, and imports the report's libraries
        from_loader(network, small)
        reported()
        print(f"{options.network}, {torch.get_num_threads()} threads, medians of {options.turns}", flush=True)
        cases: tuple[tuple[str, int, Callable[..., Any], tuple[object, ...]], ...] = (
            ("evaluation", options.images, plain, ()),
            ("evaluation with report", options.images, reported, ()),
            ("shards through the network", options.files, from_loader, (network, small)),
            ("files through the network", options.files, from_files, (network, files)),
        )
        found: dict[str, list[tuple[float, float]]] = {case[0]: [] for case in cases}
        for _ in range(options.turns):
            for label, _, call, arguments in cases:
                found[label].append(timed(call, *arguments))
        rates = {}
        for label, images, _, _ in cases:
            wall_s, cpu_s = (statistics.median(column) for column in zip(*found[label], strict=True))
            rates[label] = images / wall_s, images / cpu_s
            print(f"{label}: {images / wall_s:.0f} images/s, {1e6 * cpu_s / images:.0f} us of a core each")
        for label, control in (tuple(rates)[1::-1], tuple(rates)[3:1:-1]):
            clock, cores = (a / b for a, b in zip(rates[label], rates[control], strict=True))
            print(f"{label}: {clock:.2f} of the speed of {control}, {cores:.2f} by time of the processor")


if __name__ == "__main__":
    main()
