"""The cost of a small set apart from its images: start-up, listing, splits, in fresh processes by turns.

    python benchmarks/small_sets.py PHOTOS [--images 1000] [--workers 2] [--turns 5]

PHOTOS holds class folders. `alexprep shard` makes two splits of 16 photographs and two of `--images`, nine tenths of
them train. The control of the first is importing the libraries that prepare images, which no program can avoid; the
rest is start-up. The control of the second is a plain loop over the same photographs in one process that has imported
everything, divided by the number of workers; the rest is start-up and idle workers.
"""

import argparse
import contextlib
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from alexkit.cores import num_cores

LIBRARIES = "import numpy, PIL.Image, simplejpeg, cykooz_resizer, cv2"
ALEXPREP = "from alexkit.cli.alexprep import alexprep; alexprep()"
_PR_SET_CHILD_SUBREAPER = 36
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
    """Two splits of four classes: links to photographs, each repeated as often as needed."""
    paths = sorted(path for path in photos.rglob("*") if path.is_file())
    for i in range(num_images):
        photo = paths[i % len(paths)]
        split = "val" if i % 10 == 9 else "train"
        target = folder / split / "abcd"[i % 4] / f"{i}-{photo.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(photo.resolve())
    return folder


class Spent(NamedTuple):
    """Wall-clock and CPU seconds of a command with all processes that it started."""

    clock: float
    processor: float


def spent_by(command: list[str]) -> Spent:
    """Run a command until the last of its processes has exited."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    clock = time.perf_counter() - begun
    with contextlib.suppress(ChildProcessError):  # fork servers, which became our children when their parent exited
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as scratch:
        few = lay_out(options.photos, Path(scratch) / "few", 16)
        many = lay_out(options.photos, Path(scratch) / "many", options.images)
        found: dict[str, list[Spent]] = {"libraries": [], "16 images": [], "all images": []}
        loops: list[float] = []
        for turn in range(options.turns):
            found["libraries"].append(spent_by([sys.executable, "-c", LIBRARIES]))
            for name, source in (("16 images", few), ("all images", many)):
                out = Path(scratch) / f"out-{turn}-{source.name}"
                shard = [sys.executable, "-c", ALEXPREP, "shard", str(source), "--out", str(out), "-q"]
                found[name].append(spent_by([*shard, "--workers", str(options.workers)]))
            loop = [sys.executable, "-c", LOOP, str(many)]
            loops.append(float(subprocess.run(loop, check=True, capture_output=True, text=True).stdout))
    clock = {name: statistics.median(spent.clock for spent in values) for name, values in found.items()}
    processor = {name: statistics.median(spent.processor for spent in values) for name, values in found.items()}
    control = statistics.median(loops) / min(options.workers, num_cores())
    print("                            by the clock  processor")
    print(f"libraries alone              {clock['libraries']:8.2f} s {processor['libraries']:8.2f} s")
    print(f"two splits of 16 images      {clock['16 images']:8.2f} s {processor['16 images']:8.2f} s")
    print(f"two splits of {options.images} images  {clock['all images']:10.2f} s {processor['all images']:8.2f} s")
    print(f"  control: loop / workers    {control:8.2f} s")


if __name__ == "__main__":
    main()
