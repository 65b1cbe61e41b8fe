"""Images per second of random resized crops with ImageNet's normalization, by turns.

    python benchmarks/resized_crops.py PHOTOS [--rounds 5] [--seconds 3] [--threads 2] [--samples 4096] [--checksums]

PHOTOS is a folder of photographs; whole images with a shorter side of 256 px become JPEG shards in a temporary folder.
The control is the native DALI pipeline: webdataset reader, decode, `random_resized_crop`, mirror and normalization in
`crop_mirror_normalize`; the other control decodes only the box, with `decoders.image_random_crop`, then resizes. DALI's
dynamic mode runs twice: captured, which prefetches and refuses checkpoints, and eager, which supports them. The
DataLoader uses the webdataset library and Pillow in `--threads` processes. All return 256 x 3 x 224 x 224 float32.
With --checksums, only CPU time with and without checksums is compared, and resident memory printed.
"""

import argparse
import io
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import nvidia.dali.experimental.dynamic as ndd
import torch
import webdataset
from loader import BATCH, CROP, SIZE, Batches, measure, write_set
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types
from PIL import Image

from alexkit.cores import num_cores
from alexkit.pipeline import Batch, ColorJitter, Loader, Mix, RandomResizedCrop
from alexkit.prep import Manifest, PixelOptions, PixelSums
from alexkit.prep.format.shard import Sample

COLOR = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
MEAN, STD = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255


def write_shards(photos: Path, folder: Path, num_samples: int) -> None:
    """Shards of whole photographs, repeated until there are `num_samples`."""
    contents = []
    for path in sorted(p for p in photos.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        scale = SIZE / min(image.size)
        width, height = (max(SIZE, round(side * scale)) for side in image.size)
        file = io.BytesIO()
        image.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95, subsampling=2)
        contents.append(file.getvalue())
    samples = [
        Sample(key=f"photo-{i}", image=content, label=i % 10)
        for i, content in zip(range(num_samples), itertools.cycle(contents), strict=False)
    ]
    sums = PixelSums.of(np.zeros((SIZE, SIZE, 3), np.uint8))
    write_set(folder, PixelOptions(size_px=SIZE, fit="shorter"), samples, sums)


@pipeline_def
def bare_dali(tars: list[str], boxes_only: bool) -> Any:
    encoded, label = fn.readers.webdataset(
        paths=tars,
        index_paths=[tar.removesuffix("tar") + "idx" for tar in tars],
        ext=["jpg", "cls"],
        random_shuffle=True,
        initial_fill=2048,
    )
    if boxes_only:
        image = fn.decoders.image_random_crop(encoded, device="cpu", random_area=[0.08, 1.0])
        image = fn.resize(image, size=[CROP, CROP], interp_type=types.INTERP_LINEAR, antialias=True)
    else:
        image = fn.decoders.image(encoded, device="cpu")
        image = fn.random_resized_crop(image, size=[CROP, CROP], interp_type=types.INTERP_LINEAR, antialias=True)
    images = fn.crop_mirror_normalize(
        image,
        dtype=types.FLOAT,
        output_layout="CHW",
        mean=MEAN.tolist(),
        std=STD.tolist(),
        mirror=fn.random.coin_flip(probability=0.5),
    )
    return images, fn.pad(label, shape=[4])


def control_batches(folder: Path, threads: int, boxes_only: bool) -> Batches:
    tars = [str(path) for path in sorted(folder.glob("*.tar"))]
    options = {"batch_size": BATCH, "num_threads": threads, "device_id": None, "prefetch_queue_depth": 2}
    pipeline = bare_dali(tars, boxes_only, **options)
    pipeline.build()
    while True:
        yield torch.from_dlpack(pipeline.run()[0].as_tensor())


def dynamic_batches(folder: Path, threads: int, capture: bool) -> Batches:
    """The same steps in DALI's dynamic mode, with random numbers that are part of a checkpoint if it supports one."""
    ndd.set_num_threads(threads)
    tars = [str(path) for path in sorted(folder.glob("*.tar"))]
    reader = ndd.readers.Webdataset(
        paths=tars,
        index_paths=[tar.removesuffix("tar") + "idx" for tar in tars],
        ext=["jpg", "cls"],
        random_shuffle=True,
        initial_fill=2048,
        enable_checkpointing=not capture,
    )
    random: dict[str, Any] = {} if capture else {"rng": ndd.random.RNG(0)}
    while True:
        for encoded, _ in reader.next_epoch(batch_size=BATCH, capture=capture):
            image = ndd.decoders.image(encoded, device="cpu")
            image = ndd.random_resized_crop(image, size=[CROP, CROP], antialias=True, **random)
            images = ndd.crop_mirror_normalize(
                image,
                dtype=ndd.float32,
                output_layout="CHW",
                mean=MEAN.tolist(),
                std=STD.tolist(),
                mirror=ndd.random.coin_flip(probability=0.5, batch_size=BATCH, **random),
            )
            yield images.torch()


def augmented(sample: dict[str, Any]) -> NDArray[np.float32]:
    """torchvision's RandomResizedCrop, flip, ToTensor and Normalize, implemented with Pillow and NumPy."""
    with Image.open(io.BytesIO(sample["jpg"])) as opened:
        image = opened.convert("RGB")
    area, aspect = image.width * image.height * np.random.uniform(0.08, 1), np.exp(np.random.uniform(-0.2877, 0.2877))
    width = min(round((area * aspect) ** 0.5), image.width)
    height = min(round((area / aspect) ** 0.5), image.height)
    left, top = np.random.randint(image.width - width + 1), np.random.randint(image.height - height + 1)
    box = (left, top, left + width, top + height)
    view = np.asarray(image.crop(box).resize((CROP, CROP), Image.Resampling.BILINEAR))
    if np.random.rand() < 0.5:
        view = view[:, ::-1]
    return np.ascontiguousarray(((view - MEAN) / STD).transpose(2, 0, 1), np.float32)


def torch_batches(folder: Path, threads: int) -> Batches:
    tars = [str(path) for path in sorted(folder.glob("*.tar"))]
    samples = webdataset.WebDataset(tars, resampled=True, shardshuffle=False).shuffle(2048)
    yield from torch.utils.data.DataLoader(
        samples.map(augmented), batch_size=BATCH, num_workers=threads, multiprocessing_context="spawn"
    )


def loader_batches(folder: Path, threads: int, *, color: ColorJitter | None = None, mix: Mix | None = None) -> Batches:
    augment = RandomResizedCrop(crop=CROP, color=color)
    loader = Loader(folder, batch_size=BATCH, augment=augment, mix=mix, num_threads=threads)
    while True:
        for batch in loader:
            yield batch.images


def without_checksums(folder: Path, copy: Path) -> Path:
    """The same shards as a set of format 2."""
    shutil.copytree(folder, copy, copy_function=os.link)
    (copy / "index.bin").unlink()
    manifest = replace(Manifest.read(copy), index_sha256="")
    (copy / "manifest.json").unlink()  # a link to the other set
    manifest.write(copy)
    return copy


def forever(loader: Loader) -> Iterator[Batch]:
    while True:
        yield from loader


def core_us(batches: Iterator[Batch], count: int) -> float:
    """CPU time of all threads per image, in µs."""
    start = time.process_time()
    rows = sum(len(next(batches)) for _ in range(count))
    return (time.process_time() - start) / rows * 1e6


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def compare_checksums(folder: Path, copy: Path, options: argparse.Namespace) -> None:
    """Print the cost of checksums, by turns, and the peak resident memory of an epoch with them."""
    folders = {"with": folder, "without": without_checksums(folder, copy)}
    augment, batch = RandomResizedCrop(crop=224), min(BATCH, options.samples)
    loaders = {
        title: Loader(folder, batch_size=batch, augment=augment, num_threads=options.threads)
        for title, folder in folders.items()
    }
    running = {title: forever(loader) for title, loader in loaders.items()}
    times: dict[str, list[float]] = {title: [] for title in running}
    for _ in range(options.rounds):
        for title in times:
            times[title].append(core_us(running[title], 20 if options.seconds >= 1 else 1))
    ratios = [a / b for a, b in zip(times["with"], times["without"], strict=True)]
    for title, values in times.items():
        print(f"{title:8s} checksums {statistics.median(values):8.0f} core-us an image")
    print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f}, {max(ratios):.3f})")
    running.clear()
    loaders.pop("without").close()
    loader = loaders["with"]
    loader.set_epoch(loader.epoch + 1)
    most = max(resident_mb() for _ in loader)
    print(f"resident over an epoch of {options.samples} images, after both: at most {most:.0f} MB")
    loader.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--checksums", action="store_true")
    options = parser.parse_args()
    if options.checksums:
        with tempfile.TemporaryDirectory() as name:
            write_shards(options.photos, Path(name, "with"), options.samples)
            compare_checksums(Path(name, "with"), Path(name, "without"), options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(options.photos, folder, options.samples)
        contestants: dict[str, Callable[[], Batches]] = {
            "control: bare DALI, random_resized_crop": lambda: control_batches(folder, options.threads, False),
            "bare DALI, decoders.image_random_crop": lambda: control_batches(folder, options.threads, True),
            "DALI dynamic mode, captured": lambda: dynamic_batches(folder, options.threads, True),
            "DALI dynamic mode, eager, checkpoints": lambda: dynamic_batches(folder, options.threads, False),
            "Loader, RandomResizedCrop": lambda: loader_batches(folder, options.threads),
            "Loader, with color jitter": lambda: loader_batches(folder, options.threads, color=COLOR),
            "Loader, with mixup": lambda: loader_batches(folder, options.threads, mix=Mix(mixup=0.2)),
        }
        running = {title: start() for title, start in contestants.items()}
        peer = "torch DataLoader, webdataset, Pillow"
        rates: dict[str, list[float]] = {title: [] for title in (*running, peer)}
        for _ in range(options.rounds):
            for title, batches in running.items():
                rates[title].append(measure(batches, options.seconds)[0])
            # Its processes would prefetch during the others' turns, so they run only for this turn.
            batches = torch_batches(folder, options.threads)
            rates[peer].append(measure(batches, options.seconds)[0])
            batches.close()
    control = next(iter(rates.values()))
    print(f"{options.threads} threads, {options.rounds} rounds of {options.seconds:g} s")
    print(f"{'':42s}images/s   ratio to the control (lowest, highest)")
    for title, values in rates.items():
        ratios = [value / base for value, base in zip(values, control, strict=True)]
        print(
            f"{title:42s}{statistics.median(values):8.0f}   {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}, {max(ratios):.2f})"
        )
    sys.stdout.flush()
    os._exit(0)  # the pipelines' threads are still working on batches that will not be used


if __name__ == "__main__":
    main()
