"""What comparing each stored image with its checksum costs, and how much memory an epoch leaves resident.

    python benchmarks/checksums.py PHOTOS [--rounds 8] [--batches 20] [--threads 2] [--samples 4096]

PHOTOS is a folder of photographs, which become JPEG shards in a temporary folder. The same set is loaded by turns with
its checksums and as a set of format 2, which has none; printed is processor time, which other work disturbs little.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from loader import BATCH
from resized_crops import write_shards

from alexkit.pipeline import Batch, Loader, RandomResizedCrop
from alexkit.prep import Manifest


def without_checksums(folder: Path, copy: Path) -> Path:
    """The same shards as a set of format 2."""
    shutil.copytree(folder, copy, copy_function=os.link)
    (copy / "index.bin").unlink()
    manifest = replace(Manifest.read(copy), index_sha256="")
    (copy / "manifest.json").unlink()  # a link to the other one
    manifest.write(copy)
    return copy


def forever(loader: Loader) -> Iterator[Batch]:
    while True:
        yield from loader


def core_us(batches: Iterator[Batch], count: int) -> float:
    """Processor time of all threads for an image, in µs."""
    start = time.process_time()
    rows = sum(len(next(batches)) for _ in range(count))
    return (time.process_time() - start) / rows * 1e6


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--samples", type=int, default=4096)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_shards(options.photos, Path(name, "with"), options.samples)
        folders = {"with": Path(name, "with"), "without": without_checksums(Path(name, "with"), Path(name, "without"))}
        augment, batch = RandomResizedCrop(crop=224), min(BATCH, options.samples)
        loaders = {
            title: Loader(folder, batch_size=batch, augment=augment, num_threads=options.threads)
            for title, folder in folders.items()
        }
        running = {title: forever(loader) for title, loader in loaders.items()}
        times: dict[str, list[float]] = {title: [] for title in running}
        for _ in range(options.rounds):
            for title, batches in running.items():
                times[title].append(core_us(batches, options.batches))
        ratios = [a / b for a, b in zip(times["with"], times["without"], strict=True)]
        for title, values in times.items():
            print(f"{title:8s} checksums {statistics.median(values):8.0f} core-us an image")
        print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f}, {max(ratios):.3f})")
        loaders["with"].set_epoch(loaders["with"].epoch + 1)
        most = max(resident_mb() for _ in loaders["with"])
        print(f"resident over an epoch of {options.samples} images: at most {most:.0f} MB")
        for loader in loaders.values():
            loader.close()


if __name__ == "__main__":
    main()
