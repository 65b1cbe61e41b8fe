"""How fast images become shards: alexkit against two controls, in alternation within one run.

    python benchmarks/prep.py PHOTOS [--repeat 8] [--pairs 3] [--workers 2] [--source jpeg|png|webp|parquet]

PHOTOS holds class folders; every photograph is used `--repeat` times (by hard links), as it is, as PNG, as lossy
WebP, or in parquet files of 100 rows per group. `opencv` is what a careful engineer writes in an afternoon: simplejpeg,
OpenCV's area filter, plain tar. `pillow` is the straightforward way: Pillow's bicubic filter and webdataset's writer.
Neither decodes strictly, hashes, indexes, shuffles or computes statistics; alexkit does all of this. Absolute numbers
do not carry over to other machines, and this one may be busy: compare the ratios.
"""

import argparse
import io
import json
import multiprocessing
import multiprocessing.forkserver
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

SIZE_PX = 256
Item = tuple[str, int]


def contents(items: Sequence[Item]) -> Iterator[tuple[bytes, int]]:
    """The bytes and label of every image in the files of `items`, parquet files read by row groups."""
    for source, label in items:
        if source.endswith(".parquet"):
            import pyarrow.parquet

            for batch in pyarrow.parquet.ParquetFile(source).iter_batches(100):
                for row in batch.to_pylist():
                    yield row["image"]["bytes"], row["label"]
        else:
            yield Path(source).read_bytes(), label


def opencv_control(items: Sequence[Item], path: str) -> int:
    """One tar: simplejpeg decodes and encodes, OpenCV resizes."""
    import cv2
    import numpy as np
    import simplejpeg
    from PIL import Image

    cv2.setNumThreads(1)
    with tarfile.open(path, "w") as tar:
        for i, (data, label) in enumerate(contents(items)):
            try:
                image = simplejpeg.decode_jpeg(data, "RGB", strict=False)
            except ValueError:
                image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            scale = SIZE_PX / min(image.shape[:2])
            height, width = (round(side * scale) for side in image.shape[:2])
            method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            image = cv2.resize(image, (width, height), interpolation=method)
            top, left = (height - SIZE_PX) // 2, (width - SIZE_PX) // 2
            crop = np.ascontiguousarray(image[top : top + SIZE_PX, left : left + SIZE_PX])
            jpeg = simplejpeg.encode_jpeg(crop, quality=95, colorspace="RGB", colorsubsampling="420")
            for name, content in ((f"{i:07d}.jpg", jpeg), (f"{i:07d}.cls", b"%d" % label)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return i + 1


def pillow_control(items: Sequence[Item], path: str) -> int:
    """One tar: Pillow does everything, webdataset writes."""
    import webdataset
    from PIL import Image

    with webdataset.TarWriter(path) as tar:
        for i, (data, label) in enumerate(contents(items)):
            with Image.open(io.BytesIO(data)) as opened:
                image = opened.convert("RGB")
            scale = SIZE_PX / min(image.size)
            width, height = round(image.width * scale), round(image.height * scale)
            left, top = (width - SIZE_PX) // 2, (height - SIZE_PX) // 2
            resized = image.resize((width, height), Image.Resampling.BICUBIC)
            buffer = io.BytesIO()
            crop = resized.crop((left, top, left + SIZE_PX, top + SIZE_PX))
            crop.save(buffer, "JPEG", quality=95, subsampling="4:2:0")
            tar.write({"__key__": f"{i:07d}", "jpg": buffer.getvalue(), "cls": label})
    return i + 1


def run_control(work: Callable[[Sequence[Item], str], int], photos: Path, out: Path, workers: int) -> int:
    """Distribute the photographs over a pool of processes and return the number of images."""
    classes = sorted(path for path in photos.iterdir() if path.is_dir())
    items = [(str(file), label) for label, folder in enumerate(classes) for file in sorted(folder.iterdir())]
    items += [(str(file), 0) for file in sorted(photos.glob("*.parquet"))]
    jobs = [(items[k::workers], str(out / f"{k}.tar")) for k in range(workers)]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return sum(pool.starmap(work, jobs))


def run_alexkit(photos: Path, out: Path, workers: int) -> int:
    """Do all the work of `alexprep shard` and return the number of images."""
    from alexkit.prep.build.build import BuildOptions, build_shards
    from alexkit.prep.sources.recognize import open_source

    options = BuildOptions(num_workers=workers)
    (built,) = build_shards(open_source(photos), out, options, on_split=lambda split: lambda done, num_bad: None)
    return built.shard_set.manifest.num_samples


def measure(name: str, photos: Path, out: Path, workers: int) -> dict[str, float]:
    """Run one contestant in this process: images per second, CPU ms per image, peak MB of its largest process."""
    start = time.monotonic()
    if name == "alexkit":
        num_images = run_alexkit(photos, out, workers)
    else:
        num_images = run_control({"opencv": opencv_control, "pillow": pillow_control}[name], photos, out, workers)
    seconds = time.monotonic() - start
    if name == "alexkit":
        # Workers are children of the fork server; their usage is counted when it has exited.
        multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "images_per_s": num_images / seconds,
        "cpu_ms": 1e3 * (used.ru_utime + used.ru_stime) / num_images,
        "peak_mb": used.ru_maxrss / 1024,
    }


def extras_share(photos: Path) -> float:
    """Fraction of the work on an image that is statistics and hashing, over up to 300 photographs in this process."""
    import hashlib

    from alexkit.prep.format.pixel_options import PixelOptions
    from alexkit.prep.images.prepare import prepare_image
    from alexkit.prep.images.running_sums import RunningSums

    sums, options, digest = RunningSums(SIZE_PX), PixelOptions(), hashlib.sha256()
    whole = extras = 0.0
    for file in sorted(photos.glob("*/*"))[:300]:
        start = time.perf_counter()
        prepared = prepare_image(file.read_bytes(), options)
        middle = time.perf_counter()
        sums.add(prepared.image_HWC)
        digest.update(prepared.encoded)
        end = time.perf_counter()
        whole, extras = whole + end - start, extras + end - middle
    return extras / whole


def link_repeatedly(photos: Path, folder: Path, repeat: int, kind: str) -> None:
    """Every photograph, converted to `kind`, `repeat` times, as hard links."""
    for file in sorted(photos.glob("*/*")):
        first = folder / file.parent.name / f"0_{file.stem}.{kind}"
        first.parent.mkdir(parents=True, exist_ok=True)
        first.write_bytes(convert(file, kind))
        for i in range(1, repeat):
            first.with_name(f"{i}_{file.stem}.{kind}").hardlink_to(first)


def convert(file: Path, kind: str) -> bytes:
    """The photograph in `file` as PNG or lossy WebP, or as it is."""
    from PIL import Image

    if kind not in ("png", "webp"):
        return file.read_bytes()
    with Image.open(file) as opened:
        buffer = io.BytesIO()
        opened.convert("RGB").save(buffer, kind.upper(), **({"quality": 90} if kind == "webp" else {}))
    return buffer.getvalue()


def write_parquet(photos: Path, folder: Path, repeat: int) -> None:
    """All photographs in eight parquet files, as Hugging Face writes them."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir()
    labels = {name: i for i, name in enumerate(sorted({file.parent.name for file in photos.glob("*/*")}))}
    rows = [(file.read_bytes(), labels[file.parent.name]) for file in sorted(photos.glob("*/*"))] * repeat
    for number in range(8):
        part = rows[number::8]
        if part:
            images = [{"bytes": data, "path": f"{i}.jpg"} for i, (data, _) in enumerate(part)]
            table = pyarrow.table({"image": images, "label": [label for _, label in part]})
            pyarrow.parquet.write_table(table, folder / f"train-{number:05d}-of-00008.parquet", row_group_size=100)


def main() -> None:
    """Measure by turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    # 500 photographs make four full shards, so two workers finish together, as on a large set.
    parser.add_argument("--repeat", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--source", choices=("jpeg", "png", "webp", "parquet"), default="jpeg")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, args.photos, args.out, args.workers)))
        return
    results: dict[str, list[dict[str, float]]] = {"alexkit": [], "opencv": [], "pillow": []}
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name) / "photos"
        if args.source == "parquet":
            write_parquet(args.photos, photos, args.repeat)
        else:
            link_repeatedly(args.photos, photos, args.repeat, args.source)
        for turn in range(args.pairs):
            for contestant, runs in results.items():
                out = Path(name) / f"{contestant}{turn}"
                out.mkdir()
                command = [sys.executable, __file__, str(photos), "--only", contestant, "--out", str(out)]
                command += ["--workers", str(args.workers)]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ).stdout
                runs.append(json.loads(output))
                print(f"turn {turn + 1}, {contestant}: {runs[-1]['images_per_s']:.0f} images/s", file=sys.stderr)
    print(f"{'':10}{'images/s':>10}{'CPU ms/image':>14}{'peak MB':>9}{'alexkit is faster by':>23}{'by CPU time':>13}")
    for contestant, runs in results.items():
        columns = [statistics.median(run[key] for run in runs) for key in ("images_per_s", "cpu_ms", "peak_mb")]
        pairs = list(zip(results["alexkit"], runs, strict=True))
        wall = statistics.median(ours["images_per_s"] / theirs["images_per_s"] for ours, theirs in pairs)
        cpu = statistics.median(theirs["cpu_ms"] / ours["cpu_ms"] for ours, theirs in pairs)
        ratios = "" if contestant == "alexkit" else f"{wall:22.2f}x{cpu:12.2f}x"
        print(f"{contestant:10}{columns[0]:10.0f}{columns[1]:14.2f}{columns[2]:9.0f}{ratios}")
    print(f"statistics and hashing: {extras_share(args.photos):.1%} of alexkit's work on an image")


if __name__ == "__main__":
    main()
