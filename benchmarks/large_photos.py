"""Photographs of 12 to 48 megapixels to squares of 256: alexkit, whole and reduced while decoding, beside two controls.

    python benchmarks/large_photos.py PHOTOS [--count 60] [--turns 3]

PHOTOS holds class folders; `--count` of the photographs are enlarged to the sizes of phones and cameras, with noise so
that they compress like real ones. `pillow` reduces with `Image.draft` to at least twice the target, then resizes with
the bicubic filter; `img2dataset` does what that tool does: OpenCV decodes everything and resizes by area. CPU time is
measured by turns in one process, peak memory in separate processes. Differences compare the stored pixels with those
of the full decode.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIZE_PX = 256
MEGAPIXELS = (12, 16, 24, 48)


def enlarge(photo: Path, megapixels: float, seed: int) -> bytes:
    """A photograph of that many megapixels as a JPEG of quality 92."""
    with Image.open(photo) as opened:
        image = opened.convert("RGB")
    factor = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(seed).normal(0, 4, (image.height, image.width)).astype(np.int16)
    pixels = np.clip(np.asarray(image).astype(np.int16) + noise[..., None], 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92)
    return file.getvalue()


def alexkit(decode: str) -> Callable[[bytes], None]:
    """All work on one image except hashing and writing."""
    from alexkit.prep import PixelOptions
    from alexkit.prep.images import prepare_image
    from alexkit.prep.images.resize import use_one_thread

    use_one_thread()
    options = PixelOptions(decode=decode)  # type: ignore[arg-type]
    return lambda data: void(prepare_image(data, options))


def pillow(data: bytes) -> None:
    """`draft`, bicubic, center crop."""
    with Image.open(io.BytesIO(data)) as opened:
        opened.draft("RGB", (2 * SIZE_PX, 2 * SIZE_PX))
        image = opened.convert("RGB")
    scale = SIZE_PX / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    left, top = (width - SIZE_PX) // 2, (height - SIZE_PX) // 2
    crop = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + SIZE_PX, top + SIZE_PX))
    crop.save(io.BytesIO(), "JPEG", quality=95, subsampling="4:2:0")


def img2dataset(data: bytes) -> None:
    """OpenCV: decode, area filter, center crop."""
    import cv2

    cv2.setNumThreads(1)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    scale = SIZE_PX / min(image.shape[:2])
    height, width = (round(side * scale) for side in image.shape[:2])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    top, left = (height - SIZE_PX) // 2, (width - SIZE_PX) // 2
    cv2.imencode(".jpg", image[top : top + SIZE_PX, left : left + SIZE_PX], [cv2.IMWRITE_JPEG_QUALITY, 95])


def void(result: object) -> None:
    """Drop a result."""


def contestant(name: str) -> Callable[[bytes], None]:
    """What `name` does with one image."""
    if name.startswith("alexkit"):
        return alexkit(name.split()[1])
    return {"pillow": pillow, "img2dataset": img2dataset}[name]


NAMES = ("alexkit full", "alexkit scaled", "pillow", "img2dataset")


def measure(name: str, files: list[Path]) -> dict[str, float]:
    """CPU milliseconds per image and peak megabytes of this process."""
    work = contestant(name)
    work(files[0].read_bytes())
    seconds = 0.0
    for file in files:
        data = file.read_bytes()
        start = time.process_time()
        work(data)
        seconds += time.process_time() - start
    # Not `getrusage`: its maximum is inherited from the parent process.
    status = Path("/proc/self/status").read_text()
    return {"ms": 1e3 * seconds / len(files), "peak_mb": int(status.split("VmHWM:")[1].split()[0]) / 1024}


def differences(files: list[Path]) -> list[float]:
    """Mean difference of each image's stored pixels, in gray levels, between scaled and full decoding."""
    from alexkit.prep import PixelOptions
    from alexkit.prep.images import prepare_image

    found = []
    for file in files:
        full, scaled = (
            prepare_image(file.read_bytes(), PixelOptions(decode=decode)).image_HWC.astype(int)  # type: ignore[arg-type]
            for decode in ("full", "scaled")
        )
        found.append(float(np.abs(full - scaled).mean()))
    return found


def main() -> None:
    """Measure by turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--megapixels", type=float, nargs="*", default=MEGAPIXELS)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, sorted(args.photos.iterdir()))))
        return
    sources = sorted(args.photos.glob("*/*"))[: args.count]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    with tempfile.TemporaryDirectory() as folder:
        for i, photo in enumerate(sources):
            megapixels = args.megapixels[i % len(args.megapixels)]
            (Path(folder) / f"{i:03d}.jpg").write_bytes(enlarge(photo, megapixels, i))
        for turn in range(args.turns):
            for name, runs in results.items():
                command = [sys.executable, __file__, folder, "--only", name]
                runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
                print(f"turn {turn + 1}, {name}: {runs[-1]['ms']:.1f} ms", file=sys.stderr)
        levels = differences(sorted(Path(folder).iterdir()))
    print(f"{'':16}{'CPU ms/image':>14}{'peak MB':>9}{'scaled is faster by':>22}")
    for name, runs in results.items():
        pairs = zip(results["alexkit scaled"], runs, strict=True)
        ratio = statistics.median(theirs["ms"] / ours["ms"] for ours, theirs in pairs)
        ms, peak = (statistics.median(run[key] for run in runs) for key in ("ms", "peak_mb"))
        print(f"{name:16}{ms:14.1f}{peak:9.0f}{ratio:21.2f}x")
    print(
        f"scaled differs from full by {statistics.mean(levels):.2f} gray levels on average, {max(levels):.2f} at most"
    )


if __name__ == "__main__":
    main()
