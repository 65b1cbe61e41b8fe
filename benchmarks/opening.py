"""Seconds and memory until the first batch of a very large shard set.

    python benchmarks/opening.py [--samples 1281167] [--folder DIR] [--turns 3]
    python benchmarks/opening.py --grow 10000,100000,1281167,5000000,15000000 [--json docs/pictures/growth.json]

`--grow` opens sets of several sizes and reports how close CPU seconds and memory are to a line; `--json` writes the
numbers that `docs/pictures/draw.py` plots.

The set is synthetic: raw 256x256 images in sparse tars that take no space on the disk, but with real indexes (60 MB per
million samples), all of which the loader reads, hashes and checks. The measured child process does nothing else.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE_PX, PER_SHARD, BATCH = 256, 1000, 256
IMAGE_BYTES = 3 * SIZE_PX**2
SAMPLE_BYTES = 512 + IMAGE_BYTES + 512 + 512  # header, pixels, header, label


def write_sparse_set(folder: Path, num_samples: int) -> None:
    """A shard set whose pixels are holes; only the labels of the first batches are written."""
    from alexkit.pipeline.epochs.order import full_order
    from alexkit.prep import ColorStatistics, Manifest, PixelOptions, PixelSums
    from alexkit.prep.format.manifest import ClassEntry, complete_set
    from alexkit.prep.format.sample_index import SampleRows, image_checksum
    from alexkit.prep.format.shard import ShardEntry

    folder.mkdir(parents=True)
    needed: dict[int, list[int]] = {}
    for index in full_order(0, 0, num_samples)[: 8 * BATCH].tolist():
        needed.setdefault(index // PER_SHARD, []).append(index % PER_SHARD)
    shards, rows = [], []
    for number in range(-(-num_samples // PER_SHARD)):
        count = min(PER_SHARD, num_samples - number * PER_SHARD)
        lines = [f"v1.2 {count}"]
        for row in range(count):
            image, label = row * SAMPLE_BYTES + 512, row * SAMPLE_BYTES + 512 + IMAGE_BYTES + 512
            key = f"{number * PER_SHARD + row:08d}"
            lines.append(f"raw {image} {IMAGE_BYTES} {key}.raw cls {label} 1 {key}.cls")
        index = "\n".join([*lines, ""]).encode()
        path = folder / f"train-{number:05d}.tar"
        with path.open("wb") as file:
            for row in needed.get(number, ()):
                file.seek(row * SAMPLE_BYTES + 512 + IMAGE_BYTES + 512)
                file.write(b"0")
            file.truncate(count * SAMPLE_BYTES + 1024)
        path.with_suffix(".idx").write_bytes(index)
        shards.append(
            ShardEntry(
                name=path.name,
                num_samples=count,
                num_bytes=count * SAMPLE_BYTES + 1024,
                sha256="0" * 64,
                index_sha256=hashlib.sha256(index).hexdigest(),
            )
        )
        count_N = np.arange(count)
        rows.append(
            SampleRows(
                starts_N=count_N * SAMPLE_BYTES + 512,
                sizes_N=np.full(count, IMAGE_BYTES, np.uint32),
                labels_N=np.zeros(count, np.int32),
                checksums_N=np.full(count, image_checksum(bytes(IMAGE_BYTES)), np.uint32),
                keys=[f"{number * PER_SHARD + row:08d}" for row in range(count)],
            )
        )
    sums = PixelSums.of(np.random.default_rng(0).integers(0, 256, (SIZE_PX, SIZE_PX, 3), np.uint8))
    manifest = Manifest(
        split="train",
        seed=0,
        images_per_shard=PER_SHARD,
        pixels=PixelOptions(size_px=SIZE_PX, format="raw"),
        software={},
        classes=tuple(ClassEntry(index=i, id=str(i), name=str(i)) for i in range(10)),
        shards=tuple(shards),
        quarantined=(),
        color=ColorStatistics.from_sums(sums),
    )
    complete_set(folder, manifest, sums, rows)


def memory_kb(kind: str) -> int:
    """`RssAnon`, the private memory of this process, without mapped files, which all processes share; or `VmHWM`, the
    peak of both. `ru_maxrss` would start at the peak of the parent process."""
    return int(Path("/proc/self/status").read_text().partition(f"{kind}:")[2].split()[0])


def measure(folder: Path, small: Path) -> dict[str, float]:
    """Open the set and load one batch, in a process that has loaded every library by opening a small set before."""
    from alexkit.pipeline import Loader, TrainAugment

    start = time.perf_counter()
    Loader(small, batch_size=BATCH, augment=TrainAugment(crop=224)).close()
    libraries_s = time.perf_counter() - start
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, private = memory_kb("VmHWM"), memory_kb("RssAnon")
    start, cpu = time.perf_counter(), time.process_time()
    loader = Loader(folder, batch_size=BATCH, augment=TrainAugment(crop=224))
    cpu, private = time.process_time() - cpu, memory_kb("RssAnon") - private
    opened, peak = time.perf_counter(), memory_kb("VmHWM")
    next(iter(loader))
    return {
        "libraries_s": libraries_s,
        "opening_s": opened - start,
        "opening_cpu_s": cpu,
        "opening_mb": (peak - before) / 1024,
        "private_mb": private / 1024,
        "first_batch_s": time.perf_counter() - opened,
    }


def open_set(folder: Path, num_samples: int, turns: int) -> list[dict[str, float]]:
    """Write the set unless it exists, and open it in fresh processes."""
    if not folder.exists():
        write_sparse_set(folder, num_samples)
        os.sync()  # so that the disk is not busy writing while the loader reads
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        small = Path(temporary) / "small"
        write_sparse_set(small, BATCH)
        command = [sys.executable, __file__, "--measure", str(folder), str(small)]
        for _ in range(turns):
            result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            results.append(result)
            print(
                f"{num_samples:,} samples: {result['opening_s']:.2f} s ({result['opening_cpu_s']:.2f} CPU) and "
                f"{result['opening_mb']:.0f} MB ({result['private_mb']:.0f} private) to open, first batch of {BATCH} "
                f"after another {result['first_batch_s']:.2f} s; libraries {result['libraries_s']:.2f} s",
                flush=True,
            )
    return results


def grow(sizes: list[int], turns: int, to: Path | None) -> None:
    """Open sets of several sizes, take the minimum of `turns` each, and report how linear the growth is."""
    rows: list[dict[str, float]] = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            results = open_set(Path(temporary) / "set", size, turns)
        least = {key: round(min(result[key] for result in results), 4) for key in results[0]}
        rows.append({"samples": size, **least})
    samples = [row["samples"] for row in rows]
    for key in ("opening_cpu_s", "opening_mb"):
        r = np.corrcoef(samples, [row[key] for row in rows])[0, 1]
        print(f"{key}: R2 of a line {r**2:.4f}")
    if to is not None:
        to.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_281_167)
    parser.add_argument("--folder", type=Path, help="where the sparse set is written and kept (default: temporary)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--grow", help="comma-separated numbers of samples, one set for each")
    parser.add_argument("--json", type=Path, help="where --grow writes its numbers")
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
    elif options.grow:
        grow([int(size) for size in options.grow.split(",")], options.turns, options.json)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            open_set(options.folder or Path(temporary) / "set", options.samples, options.turns)


if __name__ == "__main__":
    main()
