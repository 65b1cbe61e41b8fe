"""Images per second of a set that is on disk and not in memory, against webdataset's reads, by turns.

    python benchmarks/loading/cold.py PHOTOS [--format raw|jpeg] [--samples 4096] [--turns 5] [--folder DIR]

Before each measurement all pages of the shards are dropped from the page cache (`posix_fadvise`, which drops only pages
that were written to disk and are not mapped), and `mincore` reports how many are left, so the set need not be larger
than memory. A measurement is one epoch in its own process, from the first `next` to the last batch. Loaders crop and
mirror and return uint8, the least they can do, so the disk is the limit, especially for raw shards. webdataset only
reads its tars and shuffles, with a buffer of 1000 samples and without decoding, in one process and in one per core. The
limit is a plain read of the files in blocks of 1 MB. The same from memory follows, as a control.

`--folder` must be on the disk to be measured; a file system in memory has no cold pages and is refused.
"""

import argparse
import ctypes
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from alexkit.cores import num_cores

BATCH, CROP = 64, 224
CASES = {
    "loader-full": "Loader, order full",
    "loader-window": "Loader, order window",
    "webdataset": "webdataset, reads alone",
    "webdataset-workers": "webdataset, reads alone, a process per core",
    "read": "limit: plain reads",
}


def tars_in(folder: Path) -> list[Path]:
    """The shards."""
    return sorted(folder.glob("*.tar"))


def drop(folder: Path) -> float:
    """Drop the shards' pages from memory and return the fraction that stayed."""
    resident = pages = 0
    for path in tars_in(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        there, count = _resident(path)
        resident, pages = resident + there, pages + count
    return resident / max(pages, 1)


def _resident(path: Path) -> tuple[int, int]:
    """The number of pages of a file that are in memory, and of all its pages."""
    size = path.stat().st_size
    count = -(-size // mmap.PAGESIZE)
    library = ctypes.CDLL(None, use_errno=True)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE) as mapped,
    ):
        states = (ctypes.c_ubyte * count)()
        first = ctypes.c_char.from_buffer(mapped)
        failed = library.mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size), states)
        del first
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(state & 1 for state in states), count


def loader_epoch(folder: Path, order: str, num_samples: int) -> int:
    import torch

    from alexkit.pipeline import Loader, TrainAugment

    augment = TrainAugment(crop=CROP, mean="none", jitter="off")
    batch_size = min(BATCH, num_samples)
    with Loader(folder, batch_size=batch_size, augment=augment, order=order, dtype=torch.uint8) as loader:
        begin()
        return sum(len(batch.images) for batch in loader)


def webdataset_epoch(folder: Path, workers: int) -> int:
    import torch
    import webdataset

    tars = [str(path) for path in tars_in(folder)]
    samples = webdataset.WebDataset(tars, shardshuffle=len(tars), empty_check=False).shuffle(1000)
    begin()
    if not workers:
        return sum(1 for _ in samples)
    loader = torch.utils.data.DataLoader(
        samples.map(_sizes), batch_size=None, num_workers=workers, multiprocessing_context="fork"
    )
    return sum(1 for _ in loader)


def _sizes(sample: dict[str, bytes]) -> int:
    """What is passed to the training process: just a number, so that only reading is measured."""
    return sum(len(value) for value in sample.values() if isinstance(value, bytes))


def plain_epoch(folder: Path, num_samples: int) -> int:
    begin()
    for path in tars_in(folder):
        with path.open("rb", buffering=0) as file:
            while file.read(2**20):
                pass
    return num_samples


_begun: list[float] = []


def begin() -> None:
    """Start the clock: everything is imported and opened."""
    _begun.append(time.perf_counter())


def run_case(case: str, folder: Path, num_samples: int) -> None:
    """Run one epoch in this process and print its rate."""
    if case.startswith("loader-"):
        count = loader_epoch(folder, case.removeprefix("loader-"), num_samples)
    elif case == "read":
        count = plain_epoch(folder, num_samples)
    else:
        count = webdataset_epoch(folder, num_cores() if case.endswith("workers") else 0)
    print(json.dumps(count / (time.perf_counter() - _begun[0])))


def measure(case: str, folder: Path, num_samples: int) -> float:
    command = [sys.executable, __file__, "--case", case, "--folder", str(folder), "--samples", str(num_samples)]
    return float(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1]))


def show(title: str, rates: dict[str, list[float]], bytes_per_image: float) -> None:
    print(f"{title:45s}images/s      MB/s   ratio to webdataset's reads (lowest, highest)")
    base = [
        max(one) for one in zip(rates["webdataset"], rates.get("webdataset-workers", rates["webdataset"]), strict=True)
    ]
    for case, values in rates.items():
        ratios = [value / control for value, control in zip(values, base, strict=True)]
        rate = statistics.median(values)
        print(
            f"{CASES[case]:45s}{rate:8.0f}  {rate * bytes_per_image / 1e6:8.0f}   {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}, {max(ratios):.2f})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--format", choices=("jpeg", "raw"), default="raw")
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: TMPDIR)")
    parser.add_argument(
        "--rehearse", action="store_true", help="run three cases once, on any file system, without measuring"
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        run_case(options.case, options.folder, options.samples)
        return
    import loader as loading

    cases = ["loader-window", "webdataset", "read"] if options.rehearse else list(CASES)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name) / "train"
        folder.mkdir()
        loading.write_shards(options.photos, folder, options.format, options.samples)
        size = sum(path.stat().st_size for path in tars_in(folder))
        if (left := drop(folder)) > 0.1 and not options.rehearse:
            raise SystemExit(f"{name}: {left:.0%} of the pages stay in memory; name a --folder on a disk")
        cold: dict[str, list[float]] = {case: [] for case in cases}
        warm: dict[str, list[float]] = {case: [] for case in cases}
        most = left
        for _ in range(1 if options.rehearse else options.turns):
            for case in cases:
                most = max(most, drop(folder))
                cold[case].append(measure(case, folder, options.samples))
                warm[case].append(cold[case][-1] if options.rehearse else measure(case, folder, options.samples))
    print(f"{options.format} shards, {options.samples} images, {size / 1e6:.0f} MB; at most {most:.1%} left in memory")
    show("cold", cold, size / options.samples)
    show("from memory", warm, size / options.samples)


if __name__ == "__main__":
    main()
