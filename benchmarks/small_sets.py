"""What a small set costs beside its images: start-up, listing, splits, in fresh processes by turns.

    python benchmarks/small_sets.py PHOTOS [--images 1000] [--workers 2] [--turns 5]

PHOTOS holds class folders. `alexprep shard` makes two splits of 16 photographs and two of `--images`, nine tenths of
them train. The control of the first is the import of the libraries that prepare images, which no program can do
without; what is above it is start-up. The control of the second is a plain loop over the same photographs in one
process that has all imported, divided by the number of workers: what is above it is start-up and idle workers.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIBRARIES = "import numpy, PIL.Image, simplejpeg, cykooz_resizer, cv2"
LOOP = """
import sys, time
from pathlib import Path
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.images.prepare import prepare_image
from alexkit.prep.images.resize import use_one_thread
use_one_thread()
files = [path.read_bytes() for path in sorted(Path(sys.argv[1]).rglob("*.*")) if path.is_file()]
prepare_image(files[0], PixelOptions())
begun = time.perf_counter()
for file in files:
    prepare_image(file, PixelOptions())
print(time.perf_counter() - begun)
"""


def lay_out(photos: Path, folder: Path, num_images: int) -> Path:
    """Two splits of links to photographs, each photograph as often as it takes."""
    paths = sorted(path for path in photos.rglob("*") if path.is_file())
    for i in range(num_images):
        photo = paths[i % len(paths)]
        split = "val" if i % 10 == 9 else "train"
        target = folder / split / photo.parent.name / f"{i}-{photo.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(photo.resolve())
        # Every class in train, so that val has none that train lacks.
        (folder / "train" / photo.parent.name).mkdir(parents=True, exist_ok=True)
    for empty in (one for one in (folder / "train").iterdir() if not any(one.iterdir())):
        for image in list((folder / "val" / empty.name).iterdir()):
            image.rename(empty / image.name)
        (folder / "val" / empty.name).rmdir()
    return folder


def seconds_of(command: list[str]) -> float:
    """Seconds of a whole process by the clock."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        few = lay_out(options.photos, Path(scratch) / "few", 16)
        many = lay_out(options.photos, Path(scratch) / "many", options.images)
        found: dict[str, list[float]] = {"libraries": [], "16 images": [], "loop": [], "all images": []}
        for turn in range(options.turns):
            found["libraries"].append(seconds_of([sys.executable, "-c", LIBRARIES]))
            for name, source in (("16 images", few), ("all images", many)):
                out = Path(scratch) / f"out-{turn}-{source.name}"
                shard = [sys.executable, "-m", "alexkit", "prep", "shard", str(source), "--out", str(out), "-q"]
                found[name].append(seconds_of([*shard, "--workers", str(options.workers)]))
            loop = [sys.executable, "-c", LOOP, str(many)]
            found["loop"].append(float(subprocess.run(loop, check=True, capture_output=True, text=True).stdout))
    medians = {name: statistics.median(values) for name, values in found.items()}
    control = medians["loop"] / min(options.workers, os.cpu_count() or 1)
    print(f"two splits of 16 images    {medians['16 images']:6.2f} s   libraries alone {medians['libraries']:6.2f} s")
    print(f"two splits of {options.images} images  {medians['all images']:6.2f} s   loop / workers  {control:6.2f} s")


if __name__ == "__main__":
    main()
