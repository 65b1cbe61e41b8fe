"""Images per second of the loader against a bare DALI pipeline and a torch DataLoader, by turns.

    python benchmarks/loader.py PHOTOS [--format jpeg|raw] [--device cpu|cuda:0] [--rounds 7] [--seconds 3]
        [--threads 2]

PHOTOS is a folder of photographs; their central 256x256 crops become shards in a temporary folder. The control is the
loader that DALI's documentation suggests: native webdataset reader, decode, random crop and mirror, color noise and
channel mean in one crop_mirror_normalize. The DataLoader uses the webdataset library, Pillow and NumPy in `--threads`
processes, for the same pixels. All return batches of 256, 224x224, float32 NCHW unless stated otherwise. No machine is
ever quiet, so each round runs all of them in turn; the table shows medians of the rates, of the CPU time of this
process (without the DataLoader's), and of the ratios to the control in the same round.
"""

import argparse
import functools
import io
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types
from PIL import Image

from alexkit.cores import num_cores
from alexkit.pipeline import Loader, TrainAugment
from alexkit.prep import ColorStatistics, Manifest, PixelOptions, PixelSums
from alexkit.prep.format.manifest import ClassEntry, complete_set
from alexkit.prep.format.shard import Sample, write_shard

BATCH, CROP, SIZE = 256, 224, 256
Batches = Generator[torch.Tensor, None, None]
CONTROL, PEER = "control: bare DALI", "torch DataLoader, webdataset, Pillow"
NUM_SAMPLES = {"jpeg": 8192, "raw": 2048}
MEAN = np.array([123.68, 116.779, 103.939], np.float32)
PCA = (
    np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    * [55.46, 4.794, 1.148]
).astype(np.float32)


def write_shards(photos: Path, folder: Path, format: str, num_samples: int) -> None:
    """Shards of the photographs' central crops, repeated until there are `num_samples`."""
    pixels = PixelOptions(size_px=SIZE, format=format)
    sums, contents = PixelSums.zero(SIZE), []
    for path in sorted(p for p in photos.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        scale = SIZE / min(image.size)
        image = image.resize([max(SIZE, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)  # type: ignore[arg-type]
        left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
        image = image.crop((left, top, left + SIZE, top + SIZE))
        sums = sums + PixelSums.of(np.asarray(image))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=95, subsampling=2)
        contents.append(image.tobytes() if format == "raw" else file.getvalue())
    samples = [
        Sample(key=f"photo-{i}", image=content, label=i % 10)
        for i, content in zip(range(num_samples), itertools.cycle(contents), strict=False)
    ]
    write_set(folder, pixels, samples, sums)


def write_set(folder: Path, pixels: PixelOptions, samples: list[Sample], sums: PixelSums) -> None:
    """A complete shard set of these samples."""
    folder.mkdir(exist_ok=True)
    shards = [
        write_shard(folder / f"train-{i // 1024:05d}.tar", samples[i : i + 1024], image_ext=pixels.image_ext)
        for i in range(0, len(samples), 1024)
    ]
    manifest = Manifest(
        split="train",
        seed=0,
        images_per_shard=1024,
        pixels=pixels,
        software={},
        classes=tuple(ClassEntry(index=i, id=str(i), name=str(i)) for i in range(10)),
        shards=tuple(shard.entry for shard in shards),
        quarantined=(),
        color=ColorStatistics.from_sums(sums),
    )
    complete_set(folder, manifest, sums, (shard.rows for shard in shards))


@pipeline_def
def bare_dali(tars: list[str], raw: bool, gpu: bool) -> Any:
    encoded, label = fn.readers.webdataset(
        paths=tars,
        index_paths=[tar.removesuffix("tar") + "idx" for tar in tars],
        ext=["raw" if raw else "jpg", "cls"],
        random_shuffle=True,
        initial_fill=2048,
    )
    place = fn.random.uniform(range=(0.0, 1.0), shape=[2])
    if raw:
        image = fn.reshape(encoded.gpu() if gpu else encoded, shape=[SIZE, SIZE, 3], layout="HWC")
    else:
        image = fn.decoders.image(encoded, device="mixed" if gpu else "cpu", output_type=types.RGB)
    noise = fn.reductions.sum(fn.random.normal(stddev=0.1, shape=[3]) * types.Constant(PCA), axes=[1])
    images = fn.crop_mirror_normalize(
        image,
        dtype=types.FLOAT,
        output_layout="CHW",
        crop=(CROP, CROP),
        crop_pos_x=place[0],
        crop_pos_y=place[1],
        mean=types.Constant(MEAN) - noise,
        std=[1.0] * 3,
        mirror=fn.random.coin_flip(probability=0.5),
    )
    return images, fn.pad(label, shape=[4])


def control_batches(folder: Path, format: str, device: torch.device, threads: int) -> Batches:
    tars = [str(path) for path in sorted(folder.glob("*.tar"))]
    gpu = device.type == "cuda"
    pipeline = bare_dali(
        tars,
        format == "raw",
        gpu,
        batch_size=BATCH,
        num_threads=threads,
        device_id=device.index if gpu else None,
        prefetch_queue_depth=2,
    )
    pipeline.build()
    while True:
        yield torch.from_dlpack(pipeline.run()[0].as_tensor())


def augmented(sample: dict[str, Any], format: str) -> NDArray[np.float32]:
    """The control's operations on an image, with Pillow and NumPy."""
    if format == "raw":
        pixels = np.frombuffer(sample["raw"], np.uint8).reshape(SIZE, SIZE, 3)
    else:
        with Image.open(io.BytesIO(sample["jpg"])) as image:
            pixels = np.asarray(image.convert("RGB"))
    top, left = np.random.randint(0, SIZE - CROP + 1, 2)
    view = pixels[top : top + CROP, left : left + CROP]
    if np.random.rand() < 0.5:
        view = view[:, ::-1]
    noise = (PCA * np.random.normal(0, 0.1, 3)).sum(axis=1)
    return np.ascontiguousarray((view - (MEAN - noise)).transpose(2, 0, 1), np.float32)


def torch_batches(folder: Path, format: str, device: torch.device, threads: int) -> Batches:
    tars = [str(path) for path in sorted(folder.glob("*.tar"))]
    samples = webdataset.WebDataset(tars, resampled=True, shardshuffle=False).shuffle(2048)
    loader = torch.utils.data.DataLoader(
        samples.map(functools.partial(augmented, format=format)),
        batch_size=BATCH,
        num_workers=threads,
        pin_memory=device.type == "cuda",
        multiprocessing_context="spawn",
    )
    for images in loader:
        yield images.to(device, non_blocking=True)


def loader_batches(folder: Path, augment: TrainAugment, threads: int, **options: Any) -> Batches:
    loader = Loader(folder, batch_size=BATCH, augment=augment, num_threads=threads, **options)
    while True:
        for batch in loader:
            yield batch.images


def measure(batches: Batches, seconds: float) -> tuple[float, float]:
    """Images per second and core-microseconds per image; starts and ends with equally many batches in flight."""
    for _ in range(3):
        last = next(batches)
    wait_for(last)
    start, busy, count = time.perf_counter(), time.process_time(), 0
    while count == 0 or time.perf_counter() - start < seconds:
        last = next(batches)
        count += len(last)
    wait_for(last)
    return count / (time.perf_counter() - start), (time.process_time() - busy) / count * 1e6


def wait_for(batch: torch.Tensor) -> None:
    """Wait until a GPU has computed it."""
    if batch.is_cuda:
        torch.cuda.current_stream(batch.device).synchronize()


def host_us(folder: Path, threads: int, **options: Any) -> float:
    """Microseconds of the calling thread per image, with almost nothing to compute."""
    if not folder.exists():
        tiny = PixelOptions(size_px=8, format="raw")
        samples = [Sample(key=f"tiny-{i}", image=bytes(8 * 8 * 3), label=i % 10) for i in range(8192)]
        write_set(folder, tiny, samples, PixelSums.of(np.zeros((8, 8, 3), np.uint8)))
    augment = TrainAugment(crop=8, mean="channel")
    with Loader(folder, batch_size=BATCH, augment=augment, num_threads=threads, **options) as loader:
        list(loader)
        start, count = time.thread_time(), 0
        for _ in range(5):
            for batch in loader:
                count += len(batch.images)
        return (time.thread_time() - start) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--format", choices=("jpeg", "raw"), default="jpeg")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu or cuda:N")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--samples", type=int, help="of the shards; 8192 JPEG or 2048 raw without")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(options.photos, folder, options.format, options.samples or NUM_SAMPLES[options.format])

        def ours(mean: str, jitter: str, **more: Any) -> Callable[[], Batches]:
            augment = TrainAugment(crop=CROP, mean=mean, jitter=jitter)
            return lambda: loader_batches(folder, augment, options.threads, device=str(options.device), **more)

        contestants: dict[str, Callable[[], Batches]] = {
            CONTROL: lambda: control_batches(folder, options.format, options.device, options.threads),
            "Loader, mean image and jitter": ours("center", "paper"),
            "Loader, neither": ours("none", "off"),
            "Loader, channel mean and jitter": ours("channel", "paper"),
            "Loader, uint8, crop and mirror only": ours("none", "off", dtype=torch.uint8),
        }
        running = {title: start() for title, start in contestants.items()}
        rates: dict[str, list[float]] = {title: [] for title in (*running, PEER)}
        costs: dict[str, list[float]] = {title: [] for title in running}
        for _ in range(options.rounds):
            for title, batches in running.items():
                rate, cost = measure(batches, options.seconds)
                rates[title].append(rate)
                costs[title].append(cost)
            # Its processes would prefetch during the others' turns, so they run only for this turn.
            peer = torch_batches(folder, options.format, options.device, options.threads)
            rates[PEER].append(measure(peer, options.seconds)[0])
            peer.close()
        # On a CPU an operator that changes nothing makes DALI do every step, as it does on a GPU.
        settings: dict[str, dict[str, Any]] = {
            "where DALI only decodes": {},
            "where it does all": {"operators": lambda node: node},
        }
        if options.device.type == "cuda":
            settings["on the GPU"] = {"device": str(options.device)}
        host = {title: host_us(folder / "tiny", options.threads, **more) for title, more in settings.items()}
    control = rates[CONTROL]
    print(
        f"{options.format} shards, {options.device}, {options.threads} threads, {options.rounds} rounds of "
        f"{options.seconds:g} s"
    )
    print(f"{'':38s}images/s  core-us/image   ratio to the control (lowest, highest)")
    for title, values in rates.items():
        ratios = [value / base for value, base in zip(values, control, strict=True)]
        cost = f"{statistics.median(costs[title]):13.0f}" if title in costs else f"{'':13s}"
        print(
            f"{title:38s}{statistics.median(values):8.0f}  {cost}   "
            f"{statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}, {max(ratios):.2f})",
            flush=True,
        )
    print("the calling thread takes " + ", ".join(f"{us:.1f} us per image {title}" for title, us in host.items()))
    sys.stdout.flush()
    os._exit(0)  # the pipelines' threads are still working on batches that will not be used


if __name__ == "__main__":
    main()
