"""Where loading spends its time: reading, decoding, the rest of the graph and the whole loader, each measured alone."""

import itertools
import os
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass, replace
from mmap import PAGESIZE
from pathlib import Path
from tarfile import BLOCKSIZE

import numpy as np
import torch
from numpy.typing import NDArray

from ..cores import own_cores
from ..errors import InputError
from ..prep import ShardSet
from ..prep.storage import StoreUrl, parse_location
from .arguments.device import find_device
from .augment import Augmentation
from .backends import BackendOptions, new_backend
from .backends.dali import DaliDecoder
from .epochs.schedule import LocalBatch
from .flow import BATCHES_AHEAD
from .loader import Loader
from .storage import Samples, Stored, stored_shapes

REMEDIES = {
    "reading": "put the shards on a faster disk or into memory, or use order='window' or 'fixed'",
    "decoding": "use more cores or a GPU, or store raw pixels",
    "the rest of the graph": "use more cores or a GPU, or use uint8 batches",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """Images per second of each stage alone (`decoding` is None for raw shards) and of the whole loader."""

    reading: float
    decoding: float | None
    graph: float
    loader: float

    def seconds_per_image(self) -> dict[str, float]:
        """Seconds per image of each stage when it has the machine to itself."""
        decoding = {} if self.decoding is None else {"decoding": 1 / self.decoding}
        return {
            "reading": 1 / self.reading,
            **decoding,
            "the rest of the graph": 1 / self.graph,
        }

    def limit(self) -> str:
        """One sentence that names the slowest stage and how to speed it up."""
        stage, seconds = max(self.seconds_per_image().items(), key=lambda item: item[1])
        return f"The limit is {stage}, {1 / seconds:,.0f} images/s on its own: {REMEDIES[stage]}."

    def lines(self) -> list[str]:
        """The lines to print: a table of the rates, then the limit."""
        rows = [("reading", self.reading), ("decoding", self.decoding), ("rest of the graph", self.graph)]
        rows.append(("whole loader", self.loader))
        table = [f"{name:18s}{rate:10,.0f} images/s" for name, rate in rows if rate is not None]
        return [*table, self.limit()]


def _elsewhere(url: StoreUrl) -> InputError:
    return InputError(
        f"{url}: a remote shard set, but only local ones can be measured; copy it first (docs/how-to/staging.md)"
    )


def measure_throughput(
    folder: str | Path,
    *,
    batch_size: int,
    augment: Augmentation,
    device: str | torch.device = "cpu",
    num_threads: int | None = None,
    seconds: float = 2.0,
) -> Throughput:
    """Measure each stage of loading, and the whole loader, for about `seconds` each.

    Shards that are in the page cache are read at memory speed.

    Args:
        folder: A shard set: the folder of one split.
        batch_size: Samples per batch; at most the number of samples in the set.
        augment: The transform of each image.
        device: "cpu", "cuda" or "cuda:N".
        num_threads: None means one per core, as in `Loader`.
        seconds: Duration of each of the four measurements.

    Raises what `Loader` raises, and InputError for a remote set.
    """
    location = parse_location(os.fspath(folder))
    if isinstance(location, StoreUrl):
        raise _elsewhere(location)
    shard_set = ShardSet.open(location)
    if shard_set.url is not None:
        raise _elsewhere(shard_set.url)
    num_samples = shard_set.manifest.num_samples
    if not 1 <= batch_size <= num_samples:
        raise InputError(
            f"{shard_set.location}: batch_size must be in 1..{num_samples}, the number of samples, got {batch_size}"
        )
    pixels = shard_set.manifest.pixels
    plan, samples = augment.plan(shard_set), Samples([shard_set])
    options = BackendOptions(
        pixels=pixels,
        batch_size=batch_size,
        device=find_device(device),
        num_threads=num_threads or own_cores(),
    )
    random = np.random.default_rng(0)

    def some() -> NDArray[np.int64]:
        return random.integers(0, len(samples), batch_size)

    def read() -> None:
        indices = some()
        stored, _ = samples.find(indices)
        for start, size in zip(stored.starts_B.tolist(), stored.sizes_B.tolist(), strict=True):
            samples.data[start : start + size : PAGESIZE].sum()
        samples.check(indices)

    def rate(one_batch: Callable[[], object]) -> float:
        return _rate(one_batch, batch_size, seconds, options.device)

    reading = rate(read)

    decoding = None
    if pixels.format != "raw":
        decoder = DaliDecoder(plan, samples.data, options)

        def decode() -> None:
            indices = some()
            images, _ = samples.find(indices)
            views = plan.views(0, _batch(indices), stored_shapes(samples.data, images, pixels.size_px))
            decoder.start(images, views.boxes_B4)

        one = _keep_busy(decoder, decode, decoder.outputs)
        decoding = rate(one)
        decoder.close()

    num_bytes = pixels.size_px**2 * 3
    stride = -(-num_bytes // BLOCKSIZE) * BLOCKSIZE  # as in a tar
    images = Stored(starts_B=np.arange(batch_size) * stride, sizes_B=np.full(batch_size, num_bytes, np.int32))
    data = random.integers(0, 256, batch_size * stride, np.uint8)
    rest = new_backend(plan, data, replace(options, pixels=replace(pixels, format="raw", fit="crop")))
    views = plan.views(0, _batch(some()), np.full((batch_size, 2), pixels.size_px))
    graph = rate(_keep_busy(rest, lambda: rest.start(images, views), rest.finish))
    rest.close()

    with Loader(folder, batch_size=batch_size, augment=augment, device=device, num_threads=num_threads) as loader:
        batches = (batch for _ in itertools.count() for batch in loader)
        whole = rate(lambda: next(batches))
    return Throughput(reading=reading, decoding=decoding, graph=graph, loader=whole)


def _batch(indices_B: NDArray[np.int64]) -> LocalBatch:
    mask_B = np.ones(len(indices_B), np.bool_)
    return LocalBatch(epoch=0, numbers_B=indices_B, indices_B=indices_B, draws_B=indices_B, mask_B=mask_B)


def _keep_busy(under_way: Sized, start: Callable[[], None], take: Callable[[], object]) -> Callable[[], None]:
    def one() -> None:
        while len(under_way) <= BATCHES_AHEAD:
            start()
        take()

    return one


def _rate(one_batch: Callable[[], object], batch_size: int, seconds: float, device: torch.device) -> float:
    """Images per second after the first batches. A batch counts once `device` has it, not when the host asks for it."""

    def finish_one() -> None:
        one_batch()
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()

    for _ in range(BATCHES_AHEAD):
        finish_one()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or count == 0:
        finish_one()
        count += batch_size
    return count / (time.perf_counter() - start)
